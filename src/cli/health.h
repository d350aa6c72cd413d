#ifndef VIVARY_CLI_HEALTH_H
#define VIVARY_CLI_HEALTH_H

int health_main(int argc, char **argv); /* exit status */

#endif
