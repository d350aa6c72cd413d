/* Ballast: what is free between the warm interpreter's objects is filled up, and stays so. A worker's new objects then lie together on
 * fresh pages, where they would be strewn over the zygote's, each of which is copied at the first write. */
#ifndef VIVARY_ZYGOTE_BALLAST_H
#define VIVARY_ZYGOTE_BALLAST_H

/* After the last thing that the zygote itself keeps. Where memory ends, less is filled. */
void ballast_load(void);

#endif
