/* The shortcuts of writes to sockets, and of asyncio's short reads, adapters/direct_writes.py and
adapters/asyncio_socket.py, for _speedups.c. */

#include <errno.h>
#ifdef MS_WINDOWS /* there, no pipe has a descriptor, because sockets are not files */
#define recv(fd, data, size, flags) -1
#define send(fd, data, size, flags) -1
#define poll(watched, number, milliseconds) 0
struct pollfd { int fd; short events, revents; };
#else
#include <poll.h>
#include <sys/socket.h>
#endif

/* Whether a pipe is full; -1 for an error. To look up the attribute, twice for each client of a
broadcast, takes 250 instructions. */
static int
is_full(const State *state, PyObject *pipe)
{
    if (CLASS(DirectWrites) != NULL && PyObject_TypeCheck(pipe, CLASS(DirectWrites))) {
        return SLOT(pipe, DirectWrites_full) != Py_False;
    }
    PyObject *full = PyObject_GetAttr(pipe, OBJECT(NAME_full));
    const int is_true = full == NULL ? -1 : PyObject_IsTrue(full);
    Py_XDECREF(full);
    return is_true;
}

/* What follows an error of a system call: `_break`, for it is reported only once; NULL if there is
nothing to do, which Python sees again. */
static PyObject *
break_pipe(PyObject *pipe)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        return NULL;
    }
    PyObject *error = PyObject_CallFunction(PyExc_OSError, "is", errno, strerror(errno));
    return PyObject_CallMethod(pipe, "_break", "N", error);
}

/* DirectWrites.write(data), to a descriptor */
static PyObject *
write_to_pipe(State *state, PyObject *const *args)
{
    PyObject *const pipe = args[0];
    PyObject *const descriptor = SLOT(pipe, DirectWrites__descriptor);
    if (!PyBytes_CheckExact(args[1]) || !holds(descriptor, &PyLong_Type) ||
        SLOT(pipe, DirectWrites__closing) != Py_False ||
        SLOT(pipe, DirectWrites__holds) != Py_False) {
        return NULL;
    }
    const int fd = (int)PyLong_AsLong(descriptor);
    const Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
    const Py_ssize_t sent = send(fd, PyBytes_AS_STRING(args[1]), (size_t)size, MSG_DONTWAIT);
    if (sent == size) {
        Py_XSETREF(SLOT(pipe, DirectWrites__unsure), Py_NewRef(Py_False));
        return Py_NewRef(Py_None);
    }
    return sent < 0 ? break_pipe(pipe)
                    : PyObject_CallMethod(pipe, "_write_rest", "(O)n", args[1], sent);
}

/* AsyncioSocketPipe._readable(), for a short read */
static PyObject *
read_socket(State *state, PyObject *const *args)
{
    PyObject *const pipe = args[0];
    PyObject *const descriptor = SLOT(pipe, DirectWrites__descriptor);
    struct pollfd watched = {holds(descriptor, &PyLong_Type) ? (int)PyLong_AsLong(descriptor) : -1};
    if (watched.fd < 0 || SLOT(pipe, AsyncioSocketPipe__buffer) != Py_None) {
        return NULL;
    }
    char buffer[SHORT_READ];
    const Py_ssize_t size = recv(watched.fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    PyObject *data = size > 0 ? PyBytes_FromStringAndSize(buffer, size) : NULL;
    if (data == NULL) {
        errno = size > 0 ? ENOMEM : errno; /* what was read is lost, and so is the stream */
        PyErr_Clear();
        return size != 0 ? break_pipe(pipe) : NULL;
    }
    PyObject *taker = Py_XNewRef(size < SHORT_READ ? SLOT(pipe, AsyncioPipe__sink) : pipe);
    const int name = size < SHORT_READ ? NAME_data_received : NAME__take_long;
    Py_XSETREF(SLOT(pipe, DirectWrites__unsure), Py_NewRef(SLOT(pipe, AsyncioSocketPipe__forgets)));
    const int failed = taker == NULL || call_method(state, name, taker, data) < 0 ||
                       (SLOT(pipe, DirectWrites__unsure) == Py_True && poll(&watched, 1, 0) != 0 &&
                        call_method(state, NAME__watch_again, pipe, NULL) < 0);
    Py_XDECREF(taker);
    Py_DECREF(data);
    return failed ? NULL : Py_NewRef(Py_None);
}
