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

/* What a whole frame holds, as str or bytes; NULL, without an exception for text that is not valid
UTF-8. The bytes of most texts are not made to an object: 300 instructions. */
static PyObject *
whole_of(const unsigned char *data, int masked, const Frame *frame)
{
    char unmasked[512];
    const int is_text = frame->first == FIN_TEXT;
    const char *text = (const char *)data + frame->start;
    if (is_text && (!masked || frame->size <= (Py_ssize_t)sizeof(unmasked))) {
        if (masked) {
            xor_key(unmasked, text, frame->size, (const char *)data + frame->key);
            text = unmasked;
        }
        return text_of(text, frame->size);
    }
    PyObject *payload = frame_payload(data, masked, frame);
    if (is_text && payload != NULL) {
        Py_SETREF(payload, text_of(PyBytes_AS_STRING(payload), frame->size));
    }
    return payload;
}

/* Append a WebSocketReader for a whole message to `readers`, which counts as so many bytes; steals
the reference to `whole`. Returns 1, 0 if that is NULL without an exception, and -1 for an error. */
static int
append_reader(const State *state, PyObject *inbox, PyObject *readers, int is_text,
              PyObject *whole, Py_ssize_t counted)
{
    PyObject *reader =
        whole == NULL ? NULL : PyType_GenericAlloc(CLASS(WebSocketReader), 0);
    if (reader == NULL) {
        Py_XDECREF(whole);
        return PyErr_Occurred() ? -1 : 0;
    }
    SLOT(reader, WebSocketReader_data_type) = Py_NewRef(OBJECT(is_text ? TEXT_TYPE : BINARY_TYPE));
    SLOT(reader, WebSocketReader__flow) = Py_NewRef(inbox);
    SLOT(reader, WebSocketReader__counted) = PyLong_FromSsize_t(counted);
    SLOT(reader, WebSocketReader__whole) = whole;
    const int failed =
        SLOT(reader, WebSocketReader__counted) == NULL || PyList_Append(readers, reader) < 0;
    Py_DECREF(reader);
    return failed ? -1 : 1;
}

/* Callbacks.begin, for a task of `Inbox._work`; returns 0, or -1 for an error. */
static int
begin_work(const State *state, PyObject *inbox, PyObject *callbacks)
{
    if (increase(&SLOT(inbox, Inbox__workers), 1) < 0) {
        return -1;
    }
    PyObject *work = PyObject_CallMethodNoArgs(inbox, OBJECT(NAME__work));
    PyObject *pipe = Py_XNewRef(SLOT(callbacks, Callbacks_pipe));
    PyObject *context = Py_XNewRef(SLOT(callbacks, Callbacks_context)); /* the end takes another */
    PyObject *result = NULL;
    if (work != NULL && pipe != NULL && increase(&SLOT(callbacks, Callbacks_running), 1) == 0) {
        PyObject *const args[] = {pipe, work, context};
        result = PyObject_VectorcallMethod(OBJECT(NAME_start), args, 3, NULL);
    }
    Py_XDECREF(context);
    Py_XDECREF(pipe);
    Py_XDECREF(work);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Inbox.run, for one message, or for a task in receive() */
static int
run_inbox(const State *state, PyObject *inbox)
{
    PyObject *const receiver = SLOT(inbox, Inbox__receiver);
    PyObject *const callbacks = SLOT(inbox, Inbox__callbacks);
    PyObject *const waiting = SLOT(inbox, Inbox__waiting);
    const int receives = SLOT(inbox, Inbox_callback) == Py_None;
    if (receives && receiver != NULL && receiver != Py_None) {
        return call_method(state, NAME_wake, receiver, NULL);
    }
    const Py_ssize_t count = PyObject_Size(waiting);
    if (count >= 0 && (count != 1 || receives || !holds(callbacks, CLASS(Callbacks)))) {
        return call_method(state, NAME_run, inbox, NULL);
    }
    int failed = 0; /* the most workers may be more than any integer of C */
    while (!failed && PyObject_Size(waiting) > 0 &&
           PyObject_RichCompareBool(SLOT(inbox, Inbox__workers), SLOT(inbox, Inbox__max_workers),
                                    Py_LT) > 0) {
        failed = begin_work(state, inbox, callbacks);
    }
    return PyErr_Occurred() ? -1 : 0;
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
        const Py_ssize_t counted = wait ? MESSAGE_COST + frame.size : 0;
        *unread += counted;
        if (done) {
            PyObject *whole = whole_of(data, masked, &frame);
            done = append_reader(state, inbox, readers, frame.first == FIN_TEXT, whole, counted);
        }
    }
    PyBuffer_Release(&buffer);
    return done;
}

/* A WebSocketReader for each message in `data`, if a connection where all is as usual reads whole
plain messages; `unread` then is what waits with them. NULL for other data, and for an error. */
static PyObject *
read_input(const State *state, PyObject *session, PyObject *data, Py_ssize_t *unread)
{
    PyObject *const core = SLOT(session, Session_core);
    PyObject *const inbox = SLOT(session, Session_inbox);
    if (!holds(inbox, CLASS(Inbox)) || core == NULL ||
        !PyObject_TypeCheck(core, CLASS(Connection)) ||
        !(PyBytes_CheckExact(data) || is_plain_view(data)) || PyObject_Size(data) >= LONG_READ) {
        return NULL;
    }
    PyObject *const parser = idle_parser(state, core);
    PyObject *const waiting = SLOT(inbox, Inbox__waiting);
    if (parser == NULL || !holds(SLOT(core, Connection__deadlines), CLASS(Deadlines)) ||
        waiting == NULL || waiting == OBJECT(NO_MESSAGES) ||
        SLOT(inbox, Inbox__ending) != Py_False) {
        return NULL;
    }
    *unread = PyLong_AsSsize_t(SLOT(inbox, Inbox_unread));
    const Py_ssize_t most = PyLong_AsSsize_t(SLOT(inbox, Inbox__limit));
    PyObject *readers = PyErr_Occurred() ? NULL : PyList_New(0);
    if (readers != NULL && (read_messages(state, parser, inbox, data, readers, unread) <= 0 ||
                            (*unread > most && SLOT(core, Sender_may_send) != Py_True))) {
        Py_CLEAR(readers);
    }
    return readers;
}

/* Session.data_received(data), of whole messages: `Inbox.put` for each, and `Inbox.run` */
static PyObject *
receive_data(State *state, PyObject *const *args)
{
    PyObject *const session = args[0];
    PyObject *const outbox = SLOT(session, Session_outbox);
    PyObject *const batch = holds(outbox, CLASS(Outbox)) ? SLOT(outbox, Outbox_batch) : NULL;
    if (!holds(session, CLASS(Session)) || !holds(batch, CLASS(Batch)) ||
        !holds(SLOT(session, Session_callbacks), CLASS(Callbacks)) ||
        SLOT(batch, Batch_active) != OBJECT(ZERO)) {
        return NULL;
    }
    Py_ssize_t unread;
    PyObject *readers = read_input(state, session, args[1], &unread);
    PyObject *now = readers == NULL ? NULL : PyObject_CallNoArgs(SLOT(session, Session__now));
    const double seconds = PyFloat_AS_DOUBLE(OBJECT(GATHER_SECONDS));
    PyObject *old_at =
        holds(now, &PyFloat_Type) ? PyFloat_FromDouble(PyFloat_AS_DOUBLE(now) + seconds) : NULL;
    if (old_at == NULL) {
        if (PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear(); /* Python meets the error again, and handles it */
        }
        Py_XDECREF(readers);
        Py_XDECREF(now);
        return NULL;
    }
    PyObject *const inbox = SLOT(session, Session_inbox);
    PyObject *const deadlines = SLOT(SLOT(session, Session_core), Connection__deadlines);
    Py_XSETREF(SLOT(deadlines, Deadlines_heard), now);
    Py_XSETREF(SLOT(batch, Batch_active), PyLong_FromLong(1));
    Py_XSETREF(SLOT(batch, Batch_old_at), old_at);
    Py_XSETREF(SLOT(batch, Batch_quiet), Py_NewRef(Py_False));
    const int one = PyList_GET_SIZE(readers) == 1; /* extend() takes 500 instructions more */
    const Py_ssize_t before = PyLong_AsSsize_t(SLOT(inbox, Inbox_unread));
    int failed = increase(&SLOT(inbox, Inbox_unread), unread - before) < 0 ||
                 call_method(state, one ? NAME_append : NAME_extend, SLOT(inbox, Inbox__waiting),
                             one ? PyList_GET_ITEM(readers, 0) : readers) < 0 ||
                 (unread > PyLong_AsSsize_t(SLOT(inbox, Inbox__limit)) &&
                  call_method(state, NAME_add_unread, inbox, OBJECT(ZERO)) < 0) || /* pauses */
                 run_inbox(state, inbox) < 0 ||
                 (SLOT(SLOT(session, Session_callbacks), Callbacks_closing) != Py_False &&
                  call_method(state, NAME_advance_close, session, NULL) < 0);
    PyObject *error = failed ? raised() : NULL;
    failed = (error == NULL ? call_method(state, NAME_end, batch, NULL)
                            : call_method(state, NAME__input_failed, session, error)) < 0;
    Py_XDECREF(error);
    Py_DECREF(readers);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* Client.__anext__(), which `async for` calls for each message. To enter Python for that takes 1 %
of an echo's instructions. */
static PyObject *
next_message(State *state, PyObject *const *args)
{
    PyObject *const session = SLOT(args[0], Client__session);
    PyObject *const inbox = holds(session, CLASS(Session)) ? SLOT(session, Session_inbox) : NULL;
    PyObject *const given[] = {inbox, Py_True};
    return inbox == NULL ? NULL : PyObject_VectorcallMethod(OBJECT(NAME_receive), given, 2, NULL);
}
