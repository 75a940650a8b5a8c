/* The shortcut of whole messages on their way in, connection/session.py, for _speedups.c. */

/* The parser of a connection, if it is between two messages and holds nothing. What it keeps back
for later is in `_rest`, or of a message that is not complete. */
static PyObject *
idle_parser(const State *state, PyObject *core)
{
    PyObject *const parser = SLOT(core, Connection__parser);
    const int idle = holds(parser, CLASS(Parser)) &&
                     SLOT(parser, Parser__type) == OBJECT(NO_TYPE) &&
                     length_of(SLOT(parser, Parser__rest), &PyBytes_Type) == 0 &&
                     SLOT(core, Connection__may_receive) == Py_True;
    return idle ? parser : NULL;
}

/* Append a WebSocketReader for a whole message to `readers`, which counts as so many bytes; steals
the reference to `payload`. Returns 1, 0 if the payload of a text message is not valid UTF-8, and -1
for an error. */
static int
append_reader(const State *state, PyObject *inbox, PyObject *readers, int is_text,
              PyObject *payload, Py_ssize_t counted)
{
    PyObject *whole = payload;
    if (is_text) {
        whole = text_of(payload);
        Py_DECREF(payload);
    }
    PyObject *reader =
        whole == NULL ? NULL : PyType_GenericAlloc(CLASS(WebSocketReader), 0);
    if (reader == NULL) {
        Py_XDECREF(whole);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *const type = OBJECT(is_text ? TEXT_TYPE : BINARY_TYPE);
    SLOT(reader, WebSocketReader_data_type) = Py_NewRef(type);
    SLOT(reader, WebSocketReader__flow) = Py_NewRef(inbox);
    SLOT(reader, WebSocketReader__counted) = PyLong_FromSsize_t(counted);
    SLOT(reader, WebSocketReader__whole) = whole;
    const int failed = PyList_Append(readers, reader);
    Py_DECREF(reader);
    return failed ? -1 : 1;
}

/* Inbox.run. To call it where a task is in receive() takes 1 % of an echo's instructions. */
static int
run_inbox(const State *state, PyObject *inbox)
{
    PyObject *const receiver = SLOT(inbox, Inbox__receiver);
    return SLOT(inbox, Inbox_callback) == Py_None && receiver != NULL && receiver != Py_None
               ? call_method(state, NAME_wake, receiver, NULL)
               : call_method(state, NAME_run, inbox, NULL);
}

/* Append a WebSocketReader for each message in `object`, if it holds whole plain messages only, and
add what they count to `unread`: on_message takes them at once if it does not run. Returns 1, 0 for
other data, and -1 for an error; some may have been appended in any case. */
static int
read_messages(const State *state, PyObject *parser, PyObject *inbox, PyObject *object,
              PyObject *readers, Py_ssize_t *unread)
{
    const int wait =
        SLOT(inbox, Inbox_callback) == Py_None || SLOT(inbox, Inbox__workers) != OBJECT(ZERO);
    const Py_ssize_t limit = PyLong_AsSsize_t(SLOT(parser, Parser__limit));
    Py_ssize_t budget = PyLong_AsSsize_t(SLOT(parser, Parser_max_frames));
    const int masked = SLOT(parser, Parser__masked) == Py_True;
    Py_buffer buffer;
    if (PyErr_Occurred() || get_bytes(object, &buffer) < 0) {
        return -1;
    }
    const unsigned char *const data = buffer.buf;
    const Py_ssize_t end = buffer.len;
    Frame frame = {0};
    int done = end > 0;
    for (Py_ssize_t at = 0; done && at < end; at = frame.start + frame.size) {
        done = budget-- > 0 && read_frame(data, at, end, masked, limit, 0, &frame);
    }
    for (Py_ssize_t at = 0; done > 0 && at < end; at = frame.start + frame.size) {
        done = read_frame(data, at, end, masked, limit, 0, &frame);
        PyObject *payload = done ? frame_payload(data, masked, &frame) : NULL;
        const Py_ssize_t counted = wait ? MESSAGE_COST + frame.size : 0;
        *unread += counted;
        if (payload != NULL) {
            done = append_reader(state, inbox, readers, frame.first == FIN_TEXT, payload, counted);
        }
        else if (done) {
            done = -1;
        }
    }
    PyBuffer_Release(&buffer);
    return done;
}

/* Session._take(data, now), of whole messages: `Inbox.put` for each, and `Inbox.run` */
static PyObject *
take(State *state, PyObject *const *args)
{
    PyObject *const core = SLOT(args[0], Session_core);
    PyObject *const inbox = SLOT(args[0], Session_inbox);
    if (!holds(args[0], CLASS(Session)) || !holds(inbox, CLASS(Inbox)) || core == NULL ||
        !PyObject_TypeCheck(core, CLASS(Connection)) ||
        !(PyBytes_CheckExact(args[1]) || is_plain_view(args[1])) ||
        PyObject_Size(args[1]) >= LONG_READ) {
        return NULL;
    }
    PyObject *const parser = idle_parser(state, core);
    PyObject *const deadlines = SLOT(core, Connection__deadlines);
    PyObject *const waiting = SLOT(inbox, Inbox__waiting);
    if (parser == NULL || !holds(deadlines, CLASS(Deadlines)) || waiting == NULL ||
        waiting == OBJECT(NO_MESSAGES) || SLOT(inbox, Inbox__ending) != Py_False) {
        return NULL;
    }
    Py_ssize_t unread = PyLong_AsSsize_t(SLOT(inbox, Inbox_unread));
    const Py_ssize_t most = PyLong_AsSsize_t(SLOT(inbox, Inbox__limit));
    PyObject *readers = PyErr_Occurred() ? NULL : PyList_New(0);
    int done = readers != NULL &&
               read_messages(state, parser, inbox, args[1], readers, &unread) > 0 &&
               (unread <= most || SLOT(core, Sender_may_send) == Py_True);
    PyObject *count = done ? PyLong_FromSsize_t(unread) : NULL;
    if (count != NULL) {
        Py_XSETREF(SLOT(deadlines, Deadlines_heard), Py_NewRef(args[2]));
        Py_XSETREF(SLOT(inbox, Inbox_unread), count);
        done = call_method(state, NAME_extend, waiting, readers) == 0 &&
               (unread <= most ||
                call_method(state, NAME_add_unread, inbox, OBJECT(ZERO)) == 0) && /* pauses */
               run_inbox(state, inbox) == 0;
    }
    Py_XDECREF(readers);
    return count != NULL && done ? Py_NewRef(Py_None) : NULL;
}
