/* `vivary key new NAME`: makes a token, and the line of the key file that goes with it. The token is kept nowhere. */
#include "cli/key.h"

#include "settings/keys.h"

#include <errno.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { TOKEN_BYTES = 32, TOKEN_DIGITS = 43 };

static const char HELP[] =
    "vivary key new NAME makes an API key: it prints the token, for the one who sends it, and then the line for the key file.\n"
    "The token can't be had again: the line holds its SHA-256 alone.\n"
    "\n"
    "NAME has 1 to 63 letters, digits, '_', '.' and '-', and no other key of the file has it. In the file, limits may follow\n"
    "in the same line: rate=RUNS_PER_SECOND burst=N at-once=N share=N wall-ms=N cpu-ms=N memory-mb=N output-kb=N files-mb=N\n"
    "processes=N runtimes=NAME,NAME\n";

/* `token` is not ended by a NUL here. */
static int token_make(char token[static TOKEN_DIGITS])
{
    uint8_t bytes[TOKEN_BYTES];
    ssize_t got;
    while ((got = getrandom(bytes, sizeof bytes, 0)) < 0 && errno == EINTR)
        continue;
    if (got != (ssize_t)sizeof bytes) {
        perror("vivary: getrandom");
        return -1;
    }
    struct base64_encode_ctx encoder;
    char digits[BASE64_ENCODE_LENGTH(TOKEN_BYTES) + BASE64_ENCODE_FINAL_LENGTH];
    base64url_encode_init(&encoder);
    size_t used = base64_encode_update(&encoder, digits, sizeof bytes, bytes);
    base64_encode_final(&encoder, digits + used);
    memcpy(token, digits, TOKEN_DIGITS); /* without the padding, which is no digit */
    return 0;
}

static int key_new(const char *name)
{
    char token[sizeof "vk_" + TOKEN_DIGITS] = "vk_";
    uint8_t digest[KEY_DIGEST_SIZE];
    if (token_make(token + strlen("vk_")) < 0)
        return 1;
    key_digest(token, strlen(token), digest);
    printf("%s\n%s ", token, name);
    for (size_t i = 0; i < sizeof digest; i++)
        printf("%02x", digest[i]);
    putchar('\n');
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("vivary: standard output");
        return 1;
    }
    return 0;
}

static int usage_fail(void)
{
    fputs("\n\n", stderr);
    fputs(HELP, stderr);
    return 2;
}

int key_command(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        fputs(HELP, stdout);
        return 0;
    }
    if (strcmp(what, "new") != 0) {
        fprintf(stderr, what[0] != '\0' ? "vivary: there is no command key %.60s" : "vivary: key takes what to do with it: new NAME", what);
        return usage_fail();
    }
    if (argc == 3 && strcmp(argv[2], "--help") == 0) {
        fputs(HELP, stdout);
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "vivary: key new takes one name, not %d", argc - 2);
        return usage_fail();
    }
    if (!key_name_valid(argv[2], strlen(argv[2]))) {
        fprintf(stderr, "vivary: a name takes 1 to %d letters, digits, '_', '.' and '-', not '%.80s'", KEY_NAME_ROOM - 1, argv[2]);
        return usage_fail();
    }
    return key_new(argv[2]);
}
