#ifndef VIVARY_CLI_KEY_H
#define VIVARY_CLI_KEY_H

int key_command(int argc, char **argv); /* exit status */

#endif
