#ifndef VIVARY_CLI_DOCTOR_H
#define VIVARY_CLI_DOCTOR_H

int doctor_main(int argc, char **argv); /* exit status: 0 if level full is possible here */

#endif
