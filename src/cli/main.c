#include "cli/doctor.h"
#include "cli/health.h"
#include "cli/key.h"
#include "cli/run.h"
#include "cli/serve.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "vivary runs Python that you don't trust, in cells forked from a warm interpreter.\n"
    "\n"
    "  vivary serve [OPTION]...            answers POST /execute over HTTP; `vivary serve --help` lists the options\n"
    "  vivary run FILE [--json] [--input JSON] [--entry NAME] [--file PATH[=NAME]]... [--fetch-to DIR] [--limit NAME=VALUE]...\n"
    "             [OPTION]...              runs one script in a cell; - is standard input; --json prints the answer of POST /v1/run\n"
    "  vivary doctor [OPTION]...           what this host offers, what is missing, and what would fix it\n"
    "  vivary doctor --attack [OPTION]...  attacks this installation from inside a cell, and says what stopped each\n"
    "  vivary health [OPTION]...           asks the service that listens there whether it answers\n"
    "  vivary key new NAME                 makes an API key: its token, and its line for the file of keys\n"
    "  vivary --version\n";

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } COMMANDS[] = {
        { "serve", serve_main }, { "run", run_main }, { "doctor", doctor_main }, { "key", key_command }, { "health", health_main }
    };
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(name, COMMANDS[i].name) == 0)
            return COMMANDS[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0) {
        puts("vivary " VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        fputs(HELP, stdout);
        return 0;
    }
    if (name[0] != '\0')
        fprintf(stderr, "vivary: there is no command %s\n\n", name);
    fputs(HELP, stderr);
    return 2;
}
