/* Shortcuts of connection.py and sending.py, for _speedups.c. */

enum { MAY_RECEIVE, PARSER, DEADLINES, KEEPALIVE_PING, EOF_HELD };
static const char *const connection_slots[] = {"_may_receive", "_parser", "_deadlines",
                                               "_keepalive_ping", "_eof_held"};

enum { MASKED, LIMIT, MAX_FRAMES, MORE, REST, MESSAGE_TYPE, PENDING };
static const char *const parser_slots[] = {"_masked", "_limit", "max_frames", "more",
                                           "_rest",   "_type",  "_pending"};

enum { HEARD };
static const char *const deadlines_slots[] = {"heard"};

enum { MAY_SEND, FRAGMENTING, SHORT_BELOW, OUT, UNSENT };
static const char *const sender_slots[] = {"may_send", "_fragmenting", "_short_below", "_out",
                                           "unsent"};

static int
bind_connection(void *of_module, PyTypeObject *owner)
{
    State *const state = of_module;
    Py_XSETREF(state->parser, imported_class("wscore.parser", "Parser", parser_slots,
                                             state->in_parser, PARSER_SLOTS));
    Py_XSETREF(state->deadlines, imported_class("wscore.deadlines", "Deadlines", deadlines_slots,
                                                state->in_deadlines, DEADLINES_SLOTS));
    if (state->parser == NULL || state->deadlines == NULL) {
        return -1;
    }
    return find_slots(owner, connection_slots, state->in_connection, CONNECTION_SLOTS);
}

/* The parser, if it is between two messages and holds nothing. */
static PyObject *
idle_parser(const State *state, PyObject *connection)
{
    const Py_ssize_t *const in = state->in_connection;
    PyObject *const parser = SLOT(connection, in[PARSER]);
    if (SLOT(connection, in[MAY_RECEIVE]) != Py_True ||
        SLOT(connection, in[KEEPALIVE_PING]) != Py_None ||
        SLOT(connection, in[EOF_HELD]) != Py_False || !holds(parser, state->parser)) {
        return NULL;
    }
    const Py_ssize_t *const within = state->in_parser;
    PyObject *const rest = SLOT(parser, within[REST]);
    PyObject *const pending = SLOT(parser, within[PENDING]);
    const int idle = SLOT(parser, within[MESSAGE_TYPE]) == state->none &&
                     SLOT(parser, within[MORE]) == Py_False && holds(rest, &PyBytes_Type) &&
                     PyBytes_GET_SIZE(rest) == 0 && holds(pending, &PyTuple_Type) &&
                     PyTuple_GET_SIZE(pending) == 0 &&
                     holds(SLOT(parser, within[LIMIT]), &PyLong_Type) &&
                     holds(SLOT(parser, within[MAX_FRAMES]), &PyLong_Type);
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
receive_data(void *of_module, PyObject *const *args, Py_ssize_t given)
{
    const State *const state = of_module;
    PyObject *const connection = args[0];
    PyObject *const parser = given == 3 ? idle_parser(state, connection) : NULL;
    PyObject *const deadlines = SLOT(connection, state->in_connection[DEADLINES]);
    if (parser == NULL || !holds(deadlines, state->deadlines) ||
        (!PyBytes_CheckExact(args[1]) && !is_plain_view(args[1]))) {
        return NULL;
    }
    const Py_ssize_t *const in = state->in_parser;
    Py_ssize_t limit = PyLong_AsSsize_t(SLOT(parser, in[LIMIT]));
    const Py_ssize_t budget = PyLong_AsSsize_t(SLOT(parser, in[MAX_FRAMES]));
    Py_buffer data;
    if (PyErr_Occurred() || get_bytes(args[1], &data) < 0) {
        return NULL;
    }
    PyObject *events = data.len == 0 ? NULL
                                     : plain_messages(state, data.buf, data.len,
                                                      SLOT(parser, in[MASKED]) == Py_True, limit,
                                                      budget);
    PyBuffer_Release(&data);
    if (events != NULL) {
        Py_XSETREF(SLOT(deadlines, state->in_deadlines[HEARD]), Py_NewRef(args[2]));
    }
    return events;
}

static int
bind_sender(void *of_module, PyTypeObject *owner)
{
    return find_slots(owner, sender_slots, ((State *)of_module)->in_sender, SENDER_SLOTS);
}

/* Sender.send_message(data, compress=None) */
static PyObject *
send_message(void *of_module, PyObject *const *args, Py_ssize_t given)
{
    const State *const state = of_module;
    const Py_ssize_t *const in = state->in_sender;
    PyObject *const sender = args[0];
    PyObject *const below = SLOT(sender, in[SHORT_BELOW]);
    PyObject *const out = SLOT(sender, in[OUT]);
    PyObject *const unsent = SLOT(sender, in[UNSENT]);
    if (given < 2 || given > 3 || (given == 3 && args[2] != Py_None && args[2] != Py_False) ||
        SLOT(sender, in[MAY_SEND]) != Py_True || SLOT(sender, in[FRAGMENTING]) != state->none ||
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
    Py_SETREF(SLOT(sender, in[UNSENT]), size);
    Py_RETURN_NONE;
}

/* Sender.data_to_send() */
static PyObject *
data_to_send(void *of_module, PyObject *const *args, Py_ssize_t given)
{
    const Py_ssize_t *const in = ((const State *)of_module)->in_sender;
    PyObject *const out = SLOT(args[0], in[OUT]);
    if (given != 1 || !holds(out, &PyList_Type) || PyList_GET_SIZE(out) != 1) {
        return NULL;
    }
    PyObject *size = PyLong_FromLong(0);
    PyObject *data = Py_NewRef(PyList_GET_ITEM(out, 0));
    if (size == NULL || PyList_SetSlice(out, 0, 1, NULL) < 0) {
        Py_XDECREF(size);
        Py_DECREF(data);
        return NULL;
    }
    Py_XSETREF(SLOT(args[0], in[UNSENT]), size);
    return data;
}

static const Shortcut shortcuts[] = {
    {"Connection.receive_data", bind_connection, receive_data},
    {"Sender.send_message", bind_sender, send_message},
    {"Sender.data_to_send", bind_sender, data_to_send},
    {NULL, NULL, NULL},
};
