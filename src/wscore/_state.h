/* What the module of an extension keeps: objects that it imports, the slots of those that are
classes, names, and others.

The file that includes this one first defines MODULE, its name; IMPORTS(X), a line X(name, module)
for each object that it imports; SLOTS(X), a line X(class, slot) for each slot; NAMES(X), a line
X(name) for each name of an attribute; and OTHERS, the numbers of the other objects. */

#define AS_IMPORT(name, module) name,
#define AS_SLOT(class, slot) class##_##slot,
#define AS_NAME(name) NAME_##name,
#define WITH_MODULE(name, module) {module, #name},
#define WITH_CLASS(class, slot) {class, #slot},
#define INTERN(name) OBJECT(NAME_##name) = PyUnicode_InternFromString(#name);

enum { IMPORTS(AS_IMPORT) ALL_IMPORTS };
enum { AFTER_IMPORTS = ALL_IMPORTS - 1, NAMES(AS_NAME) OTHERS ALL_OBJECTS };
enum { SLOTS(AS_SLOT) ALL_SLOTS };
static const struct {
    const char *module, *name;
} imports[] = {IMPORTS(WITH_MODULE)};
static const struct {
    int class;
    const char *name;
} slots[] = {SLOTS(WITH_CLASS)};

typedef struct {
    PyObject *held[ALL_OBJECTS];
    Py_ssize_t offset[ALL_SLOTS];
} State;

/* These need the `state` at hand. What is imported is NULL until it is bound. */
#define OBJECT(number) (state->held[number])
#define CLASS(number) ((PyTypeObject *)OBJECT(number))

/* What a slot of an object holds; NULL if that was deleted. */
#define SLOT(object, number) (*(PyObject **)((char *)(object) + state->offset[number]))

/* Whether `value` is an object of exactly this class. */
static inline int
holds(PyObject *value, PyTypeObject *class)
{
    return value != NULL && class != NULL && Py_IS_TYPE(value, class);
}

/* What somebody reads who has changed the sources. */
#define BUILD_AGAIN "the C extension is older than the Python files; run `pip install -e .`"

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

/* Keep an object under its number in IMPORTS, and find its slots. */
static int
bind_object(State *state, int number, PyObject *object)
{
    for (int i = 0; i < ALL_SLOTS; i++) {
        if (slots[i].class != number) {
            continue;
        }
        PyObject *slot = PyObject_GetAttrString(object, slots[i].name);
        if (!holds(slot, &PyMemberDescr_Type) ||
            ((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX) {
            Py_XDECREF(slot);
            PyErr_Format(PyExc_ImportError, "%s has no slot %s: " BUILD_AGAIN,
                         imports[number].name, slots[i].name);
            return -1;
        }
        state->offset[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_DECREF(slot);
    }
    Py_XSETREF(OBJECT(number), Py_NewRef(object));
    return 0;
}

/* Import the objects below a number, unless they were. */
static int
import_below(State *state, int number)
{
    int failed = 0;
    for (int i = 0; i < number && !failed; i++) {
        if (OBJECT(i) == NULL) {
            PyObject *object = imported(imports[i].module, imports[i].name);
            failed = object == NULL || bind_object(state, i, object) < 0;
            Py_XDECREF(object);
        }
    }
    return failed ? -1 : 0;
}
