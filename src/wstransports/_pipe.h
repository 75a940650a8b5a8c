/* The shortcuts of writes to asyncio's transports, and of uvloop's reads, adapters/asyncio.py, for
_speedups.c. */

#include <errno.h>

/* Whether a pipe is full; -1 for an error. To look up the attribute, twice for each client of a
broadcast, takes 250 instructions. */
static int
is_full(const State *state, PyObject *pipe)
{
    PyTypeObject *const known = CLASS(AsyncioPipe);
    if (known != NULL && PyObject_TypeCheck(pipe, known)) {
        return SLOT(pipe, AsyncioPipe_full) != Py_False;
    }
    PyObject *full = PyObject_GetAttr(pipe, OBJECT(NAME_full));
    const int is_true = full == NULL ? -1 : PyObject_IsTrue(full);
    Py_XDECREF(full);
    return is_true;
}

/* AsyncioPipe.write(data), to a descriptor */
static PyObject *
write_to_pipe(State *state, PyObject *const *args)
{
#ifndef MS_WINDOWS /* there, no pipe has a descriptor, because sockets are not files */
    PyObject *const pipe = args[0];
    PyObject *const descriptor = SLOT(pipe, AsyncioPipe__descriptor);
    if (!PyBytes_CheckExact(args[1]) || descriptor == NULL || descriptor == Py_None ||
        SLOT(pipe, AsyncioPipe__closing) != Py_False ||
        SLOT(pipe, AsyncioPipe__holds) != Py_False) {
        return NULL;
    }
    /* PyObject_AsFileDescriptor takes 500 instructions more for uvloop's sockets. */
    PyObject *number =
        holds(descriptor, &PyLong_Type)
            ? Py_NewRef(descriptor)
            : PyObject_VectorcallMethod(OBJECT(NAME_fileno), &descriptor, 1, NULL);
    const int fd = number == NULL ? -1 : (int)PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd < 0) { /* it is closed: Python says what follows */
        return NULL;
    }
    const char *const data = PyBytes_AS_STRING(args[1]);
    const Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
    const Py_ssize_t sent = write(fd, data, (size_t)size);
    if (sent == size) {
        return Py_NewRef(Py_None);
    }
    if (sent >= 0) {
        return PyObject_CallMethod(pipe, "_write_rest", "(O)n", args[1], sent);
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) { /* it is reported only once */
        PyObject *error = PyObject_CallFunction(PyExc_OSError, "is", errno, strerror(errno));
        return PyObject_CallMethod(pipe, "_break", "N", error);
    }
#endif
    return NULL;
}

/* UnbufferedPipe.data_received(data), of a short read. To enter Python for it takes 2 % of the
instructions of an echo. */
static PyObject *
pass_on(State *state, PyObject *const *args)
{
    PyObject *sink = Py_XNewRef(SLOT(args[0], AsyncioPipe__sink));
    PyObject *const given[] = {sink, args[1]};
    const int is_short = PyBytes_CheckExact(args[1]) && PyBytes_GET_SIZE(args[1]) < COPIED_READ;
    PyObject *result = NULL;
    if (sink != NULL && is_short) {
        result = PyObject_VectorcallMethod(OBJECT(NAME_data_received), given, 2, NULL);
    }
    Py_XDECREF(sink);
    return result;
}
