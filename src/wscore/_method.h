/* Methods with a shortcut in C for the usual case, and the module that has them.

A shortcut reads the slots of objects. It returns NULL without an exception if anything is not as
usual, and has changed nothing then: the Python method, the definition, runs instead.

The file that includes this one first defines MODULE, its name; CLASSES(X), a line X(class, module)
for each class with slots that it uses, imported when a method is bound; SLOTS(X), a line
X(class, slot) for each of these; and OBJECTS, the number of other objects that it keeps. */

#define AS_CLASS(class, module) class,
#define AS_SLOT(class, slot) class##_##slot,
#define NAMES_OF_CLASS(class, module) {module, #class},
#define NAMES_OF_SLOT(class, slot) {class, #slot},

enum { CLASSES(AS_CLASS) ALL_CLASSES };
enum { SLOTS(AS_SLOT) ALL_SLOTS };
static const struct {
    const char *module, *name;
} class_names[] = {CLASSES(NAMES_OF_CLASS)};
static const struct {
    int class;
    const char *name;
} slot_names[] = {SLOTS(NAMES_OF_SLOT)};

typedef struct {
    PyObject *held[ALL_CLASSES + OBJECTS];
    Py_ssize_t offset[ALL_SLOTS];
} State;

/* A class, and another object that is kept. The `state` must be at hand, as for SLOT. */
#define CLASS(name) ((PyTypeObject *)state->held[name])
#define OBJECT(name) (state->held[ALL_CLASSES + (name)])

/* What a slot of an object holds; NULL if that was deleted. */
#define SLOT(object, name) (*(PyObject **)((char *)(object) + state->offset[name]))

/* Whether `value` is an object of exactly this class. */
static inline int
holds(PyObject *value, PyTypeObject *class)
{
    return value != NULL && class != NULL && Py_IS_TYPE(value, class);
}

static PyObject *
imported(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module);
    if (from == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_GetAttrString(from, name);
    Py_DECREF(from);
    return object;
}

/* Remember a class, or import it if `class` is NULL, and find its slots. */
static int
bind_class(State *state, int number, PyTypeObject *class)
{
    PyObject *object = class != NULL
                           ? Py_NewRef(class)
                           : imported(class_names[number].module, class_names[number].name);
    if (object == NULL) {
        return -1;
    }
    for (int i = 0; i < ALL_SLOTS; i++) {
        if (slot_names[i].class != number) {
            continue;
        }
        PyObject *slot = PyObject_GetAttrString(object, slot_names[i].name);
        if (!holds(slot, &PyMemberDescr_Type) ||
            ((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX) {
            Py_XDECREF(slot);
            Py_DECREF(object);
            PyErr_Format(PyExc_ImportError, "the slot %s was not found", slot_names[i].name);
            return -1;
        }
        state->offset[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_DECREF(slot);
    }
    Py_XSETREF(state->held[number], object);
    return 0;
}

typedef struct {
    const char *name; /* of the method, after its class and a dot */
    int owner;        /* the class */
    uint32_t others;  /* the other classes that it uses, a bit for each */
    PyObject *(*run)(State *state, PyObject *const *args, Py_ssize_t given); /* `self` included */
} Shortcut;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const Shortcut *shortcut;
    State *state;
    PyObject *module;     /* whose state it is */
    PyObject *definition; /* the Python method */
} Method;

static PyObject *
method_call(PyObject *object, PyObject *const *args, size_t flagged, PyObject *names)
{
    const Method *const method = (Method *)object;
    const Py_ssize_t given = PyVectorcall_NARGS(flagged);
    State *const state = method->state;
    PyTypeObject *const owner = CLASS(method->shortcut->owner);
    if (names == NULL && given > 0 && owner != NULL && PyObject_TypeCheck(args[0], owner)) {
        PyObject *result = method->shortcut->run(state, args, given);
        if (result != NULL || PyErr_Occurred()) {
            return result;
        }
    }
    return PyObject_Vectorcall(method->definition, args, flagged, names);
}

/* An object has a bound method; its class has the Python method itself. */
static PyObject *
method_get(PyObject *object, PyObject *instance, PyObject *Py_UNUSED(class))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(((Method *)object)->definition)
                                                   : PyMethod_New(object, instance);
}

/* Its name, docstring and signature are those of the Python method. */
static PyObject *
method_getattr(PyObject *object, PyObject *name)
{
    return PyObject_GetAttr(((Method *)object)->definition, name);
}

static int
method_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Method *)object)->module);
    Py_VISIT(((Method *)object)->definition);
    return 0;
}

static void
method_dealloc(PyObject *object)
{
    PyTypeObject *const type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(((Method *)object)->module);
    Py_CLEAR(((Method *)object)->definition);
    type->tp_free(object);
    Py_DECREF(type);
}

/* __set_name__(owner, name): the class is made, and has its slots. */
static PyObject *
method_set_name(PyObject *object, PyObject *args)
{
    const Method *const method = (Method *)object;
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "O!O", &PyType_Type, &owner, &name)) {
        return NULL;
    }
    for (int i = 0; i < ALL_CLASSES; i++) {
        if (method->shortcut->others >> i & 1 && bind_class(method->state, i, NULL) < 0) {
            return NULL;
        }
    }
    if (bind_class(method->state, method->shortcut->owner, (PyTypeObject *)owner) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef method_methods[] = {
    {"__set_name__", method_set_name, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef method_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Method, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot method_slots[] = {
    {Py_tp_call, PyVectorcall_Call},    {Py_tp_descr_get, method_get},
    {Py_tp_getattro, method_getattr},   {Py_tp_traverse, method_traverse},
    {Py_tp_dealloc, method_dealloc},    {Py_tp_methods, method_methods},
    {Py_tp_members, method_members},    {0, NULL},
};

static PyType_Spec method_spec = {
    .name = MODULE ".Method",
    .basicsize = sizeof(Method),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = method_slots,
};

/* A Method with the shortcut for the Python method `definition`. */
static PyObject *
new_method(PyObject *module, const Shortcut *shortcut, PyObject *definition)
{
    State *const state = PyModule_GetState(module);
    PyObject *name = PyObject_GetAttrString(definition, "__qualname__");
    if (name == NULL) {
        return NULL;
    }
    while (shortcut->name != NULL && PyUnicode_CompareWithASCIIString(name, shortcut->name)) {
        shortcut++;
    }
    if (shortcut->name == NULL) {
        PyErr_Format(PyExc_ImportError, "%U has no shortcut in C", name);
    }
    Py_DECREF(name);
    PyTypeObject *const type = (PyTypeObject *)OBJECT(METHOD_TYPE);
    Method *method = shortcut->name == NULL ? NULL : PyObject_GC_New(Method, type);
    if (method != NULL) {
        method->vectorcall = method_call;
        method->shortcut = shortcut;
        method->state = state;
        method->module = Py_NewRef(module);
        method->definition = Py_NewRef(definition);
        PyObject_GC_Track(method);
    }
    return (PyObject *)method;
}

static PyObject *method(PyObject *module, PyObject *definition); /* in _module.h */

/* Its line in a table of functions; none where threads may change an object while it is read. */
#ifdef Py_GIL_DISABLED
#define METHOD
#else
#define METHOD {"method", method, METH_O, "method(definition, /)\n--\n\nSee speedups.shortcuts."},
#endif
