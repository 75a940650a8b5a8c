/* Shortcuts of connection.py and sending.py, for _speedups.c. */

/* The parser, if it is between two messages and holds nothing. */
static PyObject *
idle_parser(const State *state, PyObject *connection)
{
    PyObject *const parser = SLOT(connection, Connection__parser);
    if (SLOT(connection, Connection__may_receive) != Py_True ||
        SLOT(connection, Connection__keepalive_ping) != Py_None ||
        SLOT(connection, Connection__eof_held) != Py_False ||
        !holds(parser, state->class[Parser])) {
        return NULL;
    }
    PyObject *const rest = SLOT(parser, Parser__rest);
    PyObject *const pending = SLOT(parser, Parser__pending);
    const int idle =
        SLOT(parser, Parser__type) == state->object[NO_TYPE] &&
        SLOT(parser, Parser_more) == Py_False && holds(rest, &PyBytes_Type) &&
        PyBytes_GET_SIZE(rest) == 0 && holds(pending, &PyTuple_Type) &&
        PyTuple_GET_SIZE(pending) == 0 && holds(SLOT(parser, Parser__limit), &PyLong_Type) &&
        holds(SLOT(parser, Parser_max_frames), &PyLong_Type);
    return idle ? parser : NULL;
}

/* The events of data that holds whole plain messages only, at most `budget`; NULL for any other. */
static PyObject *
plain_messages(const State *state, const unsigned char *data, Py_ssize_t end, int masked,
               Py_ssize_t limit, Py_ssize_t budget)
{
    Frame frame;
    for (Py_ssize_t position = 0; position < end; position = frame.start + frame.size) {
        if (budget-- <= 0 || !read_frame(data, position, end, masked, limit, 0, &frame)) {
            return NULL;
        }
    }
    PyObject *events = PyList_New(0);
    int done = events != NULL;
    for (Py_ssize_t position = 0; done > 0 && position < end; position = frame.start + frame.size) {
        done = read_frame(data, position, end, masked, limit, 0, &frame);
        PyObject *payload = done ? frame_payload(data, masked, &frame) : NULL;
        if (payload != NULL) {
            done = append_message(state, events, frame.first == FIN_TEXT, payload);
        }
        else {
            done = 0;
        }
    }
    if (done <= 0) {
        Py_CLEAR(events);
    }
    return events;
}

/* Connection.receive_data(data, now) */
static PyObject *
receive_data(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const connection = args[0];
    PyObject *const parser = given == 3 ? idle_parser(state, connection) : NULL;
    PyObject *const deadlines = SLOT(connection, Connection__deadlines);
    if (parser == NULL || !holds(deadlines, state->class[Deadlines]) ||
        (!PyBytes_CheckExact(args[1]) && !is_plain_view(args[1]))) {
        return NULL;
    }
    const Py_ssize_t limit = PyLong_AsSsize_t(SLOT(parser, Parser__limit));
    const Py_ssize_t budget = PyLong_AsSsize_t(SLOT(parser, Parser_max_frames));
    const int masked = SLOT(parser, Parser__masked) == Py_True;
    Py_buffer data;
    if (PyErr_Occurred() || get_bytes(args[1], &data) < 0) {
        return NULL;
    }
    PyObject *events =
        data.len == 0 ? NULL : plain_messages(state, data.buf, data.len, masked, limit, budget);
    PyBuffer_Release(&data);
    if (events != NULL) {
        Py_XSETREF(SLOT(deadlines, Deadlines_heard), Py_NewRef(args[2]));
    }
    return events;
}

/* Sender.send_message(data, compress=None) */
static PyObject *
send_message(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const sender = args[0];
    PyObject *const below = SLOT(sender, Sender__short_below);
    PyObject *const out = SLOT(sender, Sender__out);
    PyObject *const unsent = SLOT(sender, Sender_unsent);
    if (given < 2 || given > 3 || (given == 3 && args[2] != Py_None && args[2] != Py_False) ||
        SLOT(sender, Sender_may_send) != Py_True ||
        SLOT(sender, Sender__fragmenting) != state->object[NO_TYPE] ||
        !holds(below, &PyLong_Type) || !holds(out, &PyList_Type) || !holds(unsent, &PyLong_Type)) {
        return NULL;
    }
    const Py_ssize_t limit = PyLong_AsSsize_t(below);
    const Py_ssize_t before = PyLong_AsSsize_t(unsent);
    PyObject *frame = PyErr_Occurred() ? NULL : framed(args[1], limit);
    if (frame == NULL || frame == Py_None) {
        Py_XDECREF(frame);
        return NULL;
    }
    PyObject *size = PyLong_FromSsize_t(before + PyBytes_GET_SIZE(frame));
    const int failed = size == NULL || PyList_Append(out, frame) < 0;
    Py_DECREF(frame);
    if (failed) {
        Py_XDECREF(size);
        return NULL;
    }
    Py_SETREF(SLOT(sender, Sender_unsent), size);
    Py_RETURN_NONE;
}

/* Sender.data_to_send() */
static PyObject *
data_to_send(State *state, PyObject *const *args, Py_ssize_t given)
{
    PyObject *const out = SLOT(args[0], Sender__out);
    if (given != 1 || !holds(out, &PyList_Type) || PyList_GET_SIZE(out) != 1) {
        return NULL;
    }
    PyObject *data = Py_NewRef(PyList_GET_ITEM(out, 0));
    if (PyList_SetSlice(out, 0, 1, NULL) < 0) {
        Py_DECREF(data);
        return NULL;
    }
    Py_XSETREF(SLOT(args[0], Sender_unsent), Py_NewRef(state->object[ZERO]));
    return data;
}

static const Shortcut shortcuts[] = {
    {"Connection.receive_data", Connection, 1 << Parser | 1 << Deadlines, receive_data},
    {"Sender.send_message", Sender, 0, send_message},
    {"Sender.data_to_send", Sender, 0, data_to_send},
    {NULL, 0, 0, NULL},
};
