#include "zygote/arena.h"

#include <dlfcn.h>

typedef void allocator_function(struct arena_allocator *allocator);

static allocator_function *allocator_find(const char *name)
{
    allocator_function *found;
    *(void **)&found = dlsym(RTLD_DEFAULT, name); /* dlsym(3) on this cast */
    return found;
}

bool arena_get(struct arena_allocator *ret_allocator)
{
    allocator_function *get = allocator_find("PyObject_GetArenaAllocator");
    if (get == NULL || allocator_find("PyObject_SetArenaAllocator") == NULL)
        return false;
    get(ret_allocator);
    return true;
}

void arena_set(struct arena_allocator *allocator)
{
    allocator_function *set = allocator_find("PyObject_SetArenaAllocator");
    if (set != NULL)
        set(allocator);
}

void *arena_block(size_t size)
{
    void *(*allocate)(size_t size);
    *(void **)&allocate = dlsym(RTLD_DEFAULT, "PyObject_Malloc");
    return allocate == NULL ? NULL : allocate(size);
}
