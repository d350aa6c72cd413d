/* Cgroups that services left which were killed, keeper and all. */
#ifndef VIVARY_CLI_GROUP_SWEEP_H
#define VIVARY_CLI_GROUP_SWEEP_H

/* Removes those in this folder whose service is gone. What can't be removed stays: it is in nobody's way. */
void groups_sweep(const char *parent);

#endif
