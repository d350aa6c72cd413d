/* A front that a stranger has taken over, for tests alone: makes the system call that the request names, with nothing between. Its body is
 * words: the call's number, then arguments, numbers or @text for a pointer to text. Not compiled into any other build. */
#include "front/answer.h"
#include "front/front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS_MAX = 7, TEXT_MAX = 4096 };

void takeover_run(struct call *call)
{
    char text[TEXT_MAX + 1];
    size_t length = call->body.used < TEXT_MAX ? call->body.used : TEXT_MAX;
    memcpy(text, call->body.at != NULL ? call->body.at : "", length);
    text[length] = '\0';
    long words[WORDS_MAX] = { 0 };
    char *rest = text;
    for (int i = 0; i < WORDS_MAX; i++) {
        const char *word = strsep(&rest, " ");
        if (word == NULL)
            break;
        words[i] = word[0] == '@' ? (long)(word + 1) : strtol(word, NULL, 0);
    }
    errno = 0;
    long result = syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
    char said[64];
    snprintf(said, sizeof said, "%ld %d", result, errno);
    call_fail(call, 200, said);
}
