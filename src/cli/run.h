#ifndef VIVARY_CLI_RUN_H
#define VIVARY_CLI_RUN_H

int run_main(int argc, char **argv); /* exit status */

#endif
