#ifndef VIVARY_CLI_SERVE_H
#define VIVARY_CLI_SERVE_H

int serve_main(int argc, char **argv); /* exit status */

#endif
