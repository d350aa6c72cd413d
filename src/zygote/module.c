/* The extension module `_vivary`, by the stable ABI of CPython 3.9 and later: one build serves every interpreter. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/descriptor.h"
#include "zygote/huge.h"
#include "zygote/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* One for the process: the interpreter that holds this module is the process. */
static struct zygote zygote;

static PyObject *fault_raise(const struct fault *why)
{
    PyErr_Format(PyExc_OSError, "%s(%s): %s", why->call, why->object, strerror(why->error));
    return NULL;
}

static PyObject *error_raise(int r, const char *call)
{
    struct fault why;
    fault_set(&why, -r, call, "front");
    return fault_raise(&why);
}

static PyObject *module_preload(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return PyUnicode_DecodeFSDefault(zygote.plan->preload);
}

static PyObject *module_result_max(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return PyLong_FromUnsignedLongLong(zygote.plan->result_max);
}

/* Where this worker's /tmp and /runtime are, when no mount and no link makes these two names its own; else None. */
static PyObject *module_place(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    if (zygote.plan->level == LEVEL_FULL || zygote.plan->linked)
        Py_RETURN_NONE;
    char tmp[PLAN_PATH_MAX], runtime[PLAN_PATH_MAX], link[32];
    ssize_t tmp_length, runtime_length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", CELL_TMP_FD);
    tmp_length = readlink(link, tmp, sizeof tmp);
    snprintf(link, sizeof link, "/proc/self/fd/%d", CELL_RUNTIME_FD);
    runtime_length = readlink(link, runtime, sizeof runtime);
    if (tmp_length < 0 || runtime_length < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("(s#s#)", tmp, (Py_ssize_t)tmp_length, runtime, (Py_ssize_t)runtime_length);
}

static PyObject *module_settle(PyObject *self, PyObject *quick)
{
    (void)self;
    struct fault why = { 0 };
    if (zygote_settle(&zygote, quick == Py_True, &why) < 0)
        return fault_raise(&why);
    Py_RETURN_NONE;
}

/* For measuring. */
static PyObject *module_populated(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    return Py_BuildValue("(kk)", zygote.populated, zygote.calls);
}

static int work_call(void *argument)
{
    PyObject *none = PyTuple_New(0);
    PyObject *result = none == NULL ? NULL : PyObject_CallObject(argument, none);
    Py_XDECREF(none);
    if (result == NULL) {
        PyErr_Print();
        return -EPROTO;
    }
    Py_DECREF(result);
    return 0;
}

static PyObject *module_learn(PyObject *self, PyObject *arguments)
{
    (void)self;
    PyObject *work;
    int type;
    const char *script;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(arguments, "Oiy#", &work, &type, &script, &length))
        return NULL;
    struct fault why = { 0 };
    int r = zygote_learn(&zygote, (enum frame_type)type, script, (size_t)length, work_call, work, &why);
    return r < 0 ? fault_raise(&why) : PyLong_FromLong(r);
}

static PyObject *module_populate(PyObject *self, PyObject *number)
{
    (void)self;
    size_t lesson = PyLong_AsSize_t(number);
    if (lesson < zygote.lesson_count)
        zygote_populate(&zygote, lesson);
    Py_RETURN_NONE;
}

static PyObject *module_lesson_for(PyObject *self, PyObject *arguments)
{
    (void)self;
    unsigned use;
    Py_ssize_t lesson;
    if (!PyArg_ParseTuple(arguments, "In", &use, &lesson))
        return NULL;
    for (size_t i = 0; i < USES_KINDS && lesson > 0 && (size_t)lesson < zygote.lesson_count; i++)
        if (use == 1U << i)
            zygote.lesson_of[i] = (size_t)lesson;
    if (use == USES_NUMPY || use == USES_PANDAS)
        zygote.ahead = (size_t)lesson; /* the last has most */
    Py_RETURN_NONE;
}

static PyObject *module_fork_loop(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    struct fault why = { 0 };
    if (fork_loop(&zygote, &why) < 0)
        return fault_raise(&why);
    Py_RETURN_NONE;
}

static PyObject *module_ready(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    int r = worker_ready(&zygote);
    if (r < 0)
        return error_raise(r, "worker_ready");
    Py_RETURN_NONE;
}

static PyObject *module_receive(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    enum frame_type type;
    char *payload;
    size_t length;
    zygote_rest(&zygote);
    int r = worker_receive(&type, &payload, &length);
    if (r == -EPIPE)
        _exit(0); /* the front let go of a worker that it never used */
    if (r < 0)
        return error_raise(r, "worker_receive");
    PyObject *pair = Py_BuildValue("(iy#)", (int)type, payload, (Py_ssize_t)length);
    free(payload);
    return pair;
}

/* In C, since io.FileIO and `with` would write to thirty pages, each a copy. A file system that is full is no fault of the caller's. */
static PyObject *module_write_file(PyObject *self, PyObject *arguments)
{
    (void)self;
    const char *path, *text;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(arguments, "ss#", &path, &text, &length))
        return NULL;
    OWN_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    for (Py_ssize_t done = 0, wrote; fd >= 0 && done < length; done += wrote) {
        wrote = write(fd, text + done, (size_t)(length - done));
        if (wrote <= 0)
            break;
    }
    Py_RETURN_NONE;
}

/* Makes a folder and goes there. */
static PyObject *module_folder_enter(PyObject *self, PyObject *arguments)
{
    (void)self;
    const char *path;
    if (!PyArg_ParseTuple(arguments, "s", &path))
        return NULL;
    return mkdir(path, 0777) < 0 || chdir(path) < 0 ? PyErr_SetFromErrnoWithFilename(PyExc_OSError, path) : Py_BuildValue("");
}

static unsigned long long microseconds(const struct timeval *time)
{
    return (unsigned long long)time->tv_sec * 1000000 + (unsigned long long)time->tv_usec;
}

/* Of this process, and those of its children that it has waited for. */
static PyObject *module_usage(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    struct rusage own, children;
    if (getrusage(RUSAGE_SELF, &own) < 0 || getrusage(RUSAGE_CHILDREN, &children) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("(KKll)", microseconds(&own.ru_utime) + microseconds(&children.ru_utime),
                         microseconds(&own.ru_stime) + microseconds(&children.ru_stime),
                         own.ru_minflt + own.ru_majflt + children.ru_minflt + children.ru_majflt, own.ru_maxrss);
}

static PyObject *module_send(PyObject *self, PyObject *arguments)
{
    (void)self;
    int type, r;
    const char *payload;
    Py_ssize_t length;
    /* Of bytes, or of text: the UTF-8 of one that is all ASCII is what Python has anyway, so nothing is copied. */
    if (!PyArg_ParseTuple(arguments, "is#", &type, &payload, &length))
        return NULL;
    Py_BEGIN_ALLOW_THREADS /* threads of the script may go on meanwhile */
        r = worker_send((enum frame_type)type, payload, (size_t)length);
    Py_END_ALLOW_THREADS if (r < 0) return error_raise(r, "worker_send");
    Py_RETURN_NONE;
}

static PyObject *module_finish(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    _exit(worker_send(FRAME_END, NULL, 0) < 0);
}

static PyObject *module_limits(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    const struct plan *plan = zygote.plan;
    return Py_BuildValue("{s:K,s:K,s:K,s:K}", "memory_mb", (unsigned long long)(plan->memory_bytes >> 20), "processes",
                         (unsigned long long)plan->processes, "cpu_ms", (unsigned long long)plan->cpu_ms, "files_mb",
                         (unsigned long long)(plan->files_bytes >> 20));
}

static PyObject *module_limit(PyObject *self, PyObject *arguments)
{
    (void)self;
    unsigned long long memory_mb, processes, cpu_ms;
    if (!PyArg_ParseTuple(arguments, "KKK", &memory_mb, &processes, &cpu_ms))
        return NULL;
    int r = worker_limit(&zygote, memory_mb << 20, processes, cpu_ms);
    if (r < 0)
        return error_raise(r, "worker_limit");
    Py_RETURN_NONE;
}

static PyObject *module_flush(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    fflush(NULL);
    Py_RETURN_NONE;
}

static PyObject *module_peek(PyObject *self, PyObject *arguments)
{
    (void)self;
    unsigned long long address;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(arguments, "Kn", &address, &length))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)(uintptr_t)address, length);
}

static PyObject *module_state(PyObject *self, PyObject *arguments)
{
    (void)self;
    unsigned long long address;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(arguments, "Kn", &address, &length))
        return NULL;
    if (zygote.state_count == ZYGOTE_STATES_MAX)
        return error_raise(-ENOSPC, "state");
    zygote.states[zygote.state_count++] =
        (struct iovec) { (void *)(uintptr_t)address, (size_t)length }; // NOLINT(performance-no-int-to-ptr)
    Py_RETURN_NONE;
}

static PyObject *module_renew(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    for (size_t i = 0; i < zygote.state_count; i++)
        for (size_t done = 0; done < zygote.states[i].iov_len;) {
            ssize_t got = getrandom((char *)zygote.states[i].iov_base + done, zygote.states[i].iov_len - done, 0);
            if (got < 0 && errno != EINTR)
                return PyErr_SetFromErrno(PyExc_OSError);
            done += got > 0 ? (size_t)got : 0;
        }
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    { "preload", module_preload, METH_NOARGS, "The names of packages to import, with commas between." },
    { "place", module_place, METH_NOARGS, "The folders that stand for /tmp and /runtime, or None." },
    { "result_max", module_result_max, METH_NOARGS, "The largest result, in bytes of JSON." },
    { "settle", module_settle, METH_O,
      "Brings the warm interpreter's memory into the form that is to be forked; or not, if that is to be quick." },
    { "learn", module_learn, METH_VARARGS,
      "Learns which pages a worker writes to: a function that acts one, and its script. The lesson's number." },
    { "populated", module_populated, METH_NOARGS, "How many pages were copied at once, and in how many calls." },
    { "populate", module_populate, METH_O, "Copies the pages of a lesson at once." },
    { "lesson_for", module_lesson_for, METH_VARARGS, "What a lesson is for: one of USES_..., and the lesson's number." },
    { "fork_loop", module_fork_loop, METH_NOARGS, "Forks workers; returns in each of them." },
    { "ready", module_ready, METH_NOARGS, "Says that this worker waits." },
    { "receive", module_receive, METH_NOARGS, "Waits for a script or a request: the frame's type and its bytes." },
    { "limits", module_limits, METH_NOARGS, "What a request may ask for." },
    { "limit", module_limit, METH_VARARGS, "Lowers memory (MiB), processes and processor time (ms)." },
    { "write_file", module_write_file, METH_VARARGS, "Writes a file: its path, and its bytes or text." },
    { "folder_enter", module_folder_enter, METH_VARARGS, "Makes a folder and goes there." },
    { "usage", module_usage, METH_NOARGS, "User and system time in microseconds, page faults, KiB at most in memory." },
    { "send", module_send, METH_VARARGS, "Sends a frame: its type, and its bytes or text." },
    { "finish", module_finish, METH_NOARGS, "Says that the run is over, and ends the process." },
    { "peek", module_peek, METH_VARARGS, "Bytes of this process's memory, at an address." },
    { "state", module_state, METH_VARARGS, "Where in memory a generator's state is, and its size." },
    { "renew", module_renew, METH_NOARGS, "Fills all states with random bytes." },
    { "flush", module_flush, METH_NOARGS, "Flushes C's streams." },
    { NULL, NULL, 0, NULL },
};

static struct PyModuleDef DEFINITION = { PyModuleDef_HEAD_INIT, "_vivary", NULL, -1, METHODS, NULL, NULL, NULL, NULL };

PyMODINIT_FUNC PyInit__vivary(void)
{
    struct fault why = { 0 };
    if (zygote.plan == NULL && zygote_open(&zygote, &why) < 0)
        return fault_raise(&why);
    huge_begin(); /* this module is what the zygote imports first */
    PyObject *module = PyModule_Create(&DEFINITION);
    if (module != NULL &&
        (PyModule_AddIntConstant(module, "FRAME_RUN", FRAME_RUN) < 0 || PyModule_AddIntConstant(module, "FRAME_RESULT", FRAME_RESULT) < 0 ||
         PyModule_AddIntConstant(module, "FRAME_ERROR", FRAME_ERROR) < 0 ||
         PyModule_AddIntConstant(module, "FRAME_REQUEST", FRAME_REQUEST) < 0 ||
         PyModule_AddIntConstant(module, "FRAME_REPORT", FRAME_REPORT) < 0 ||
         PyModule_AddIntConstant(module, "USES_REQUEST", USES_REQUEST) < 0 ||
         PyModule_AddIntConstant(module, "USES_NUMPY", USES_NUMPY) < 0 ||
         PyModule_AddIntConstant(module, "USES_PANDAS", USES_PANDAS) < 0)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
