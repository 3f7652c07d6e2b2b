/* FastWay: from a LogRecord to a queued or appended item, in one call, for records that need no care.
 *
 * It does what conversion.py does for the options that it knows, to the byte. It runs no code of the
 * program, such as a __str__ of its objects, except for the callables `topic` and `more`. */

#include "accelerator.h"
#include "json.h"

#ifdef _WIN32
#include <process.h>
#define getpid _getpid
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

/* The objects that a FastWay has, in the order of its arguments; those behind F_GIVEN it finds. */
enum {
    F_KIND, F_NAMES, F_PLACES, F_SITES, F_SECOND, F_TASK_NAME, F_MORE, F_TAKEN, F_HIDDEN, F_MIDDLE, F_NONE, F_TOPIC, F_KEY,
    F_HEADERS, F_HERE, F_BLOCKS, F_COUNTS, F_QUEUE, F_WAKE, F_TAIL, F_GIVEN,
    F_APPEND = F_GIVEN, F_MESSAGE, F_TASK, F_SPANS, F_DEPTH, F_COUNT
};

typedef struct {
    PyObject_HEAD
    PyObject *its[F_COUNT];
    Py_ssize_t most;  /* bytes of a record in a batch */
    int style;        /* how fields are written, see json.h */
    int has_context;  /* whether `more` is asked of each record */
    int keeps_source; /* whether items keep their LogRecord */
    long process;     /* the id of the one that it was made in */
    char *mark;       /* 1 in that process, 0 in its forked children; NULL where that can't be had */
    Clock clock;
} FastWay;

/* -- forks -------------------------------------------------------------------------------------- */

/* Forks that C code makes run no hooks, so that each call looks for itself. Linux can wipe a page for the
 * child: to look there takes no system call, as getpid() does. */

static void
mark_process(FastWay *fast)
{
    fast->process = (long)getpid();
#ifdef MADV_WIPEONFORK
    char *mark = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mark == MAP_FAILED) {
        return;
    }
    if (madvise(mark, 1, MADV_WIPEONFORK) < 0) { /* Linux before 4.14 */
        munmap(mark, 1);
        return;
    }
    *mark = 1;
    fast->mark = mark;
#endif
}

static void
unmark_process(FastWay *fast)
{
#ifdef MADV_WIPEONFORK
    if (fast->mark != NULL) {
        munmap(fast->mark, 1);
    }
#endif
}

static int
is_forked(const FastWay *fast)
{
    return fast->mark != NULL ? *(volatile char *)fast->mark == 0
                              : (long)getpid() != fast->process;
}

/* -- what a record has -------------------------------------------------------------------------- */

/* The attributes whose places F_PLACES has, among the attributes that logging gives a record; behind them
 * come those of a call site. */
enum {
    P_EXC_INFO, P_EXC_TEXT, P_STACK_INFO, P_MSG, P_ARGS, P_CREATED, P_LEVELNO, P_TASK_NAME, P_SITE
};
enum { NO_PLACE = 255, MOST_NAMES = 64, MOST_EXTRAS = 500 };

/* A record's attributes, in the order in which logging sets them: references of our own, because
 * other code may change the record whenever Python code or the garbage collector runs. */
typedef struct {
    PyObject *values[MOST_NAMES];
    Py_ssize_t count, end; /* `end`: where PyDict_Next() finds what is behind them */
    const unsigned char *places;
} Attributes;

static PyObject *
attribute(const Attributes *attributes, int which)
{
    return attributes->values[attributes->places[which]];
}

/* Read them in one pass; return 0 when they are not in the order in which logging sets them. */
static int
read_attributes(Attributes *attributes, PyObject *own, const FastWay *fast)
{
    PyObject *names = fast->its[F_NAMES], *name, *value;
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    attributes->end = 0;
    attributes->places = (const unsigned char *)PyBytes_AS_STRING(fast->its[F_PLACES]);
    for (attributes->count = 0; attributes->count < count; attributes->count++) {
        if (!PyDict_Next(own, &attributes->end, &name, &value) ||
            name != PyTuple_GET_ITEM(names, attributes->count)) {
            return 0;
        }
        attributes->values[attributes->count] = Py_NewRef(value);
    }
    return 1;
}

static int
is_simple(PyObject *own, const Attributes *attributes, const FastWay *fast)
{
    return attribute(attributes, P_EXC_INFO) == Py_None &&
           attribute(attributes, P_EXC_TEXT) == Py_None &&
           attribute(attributes, P_STACK_INFO) == Py_None &&
           PyFloat_CheckExact(attribute(attributes, P_CREATED)) &&
           PyLong_CheckExact(attribute(attributes, P_LEVELNO)) &&
           PyUnicode_CheckExact(attribute(attributes, P_MSG)) &&
           PyTuple_CheckExact(attribute(attributes, P_ARGS)) &&
           PyDict_Contains(own, fast->its[F_MESSAGE]) == 0 && PyDict_GET_SIZE(own) < MOST_EXTRAS;
}

/* Return a new reference to the three parts of JSON that the record's call site has. From here on NULL without
 * an error means that the record needs care. */
static PyObject *
site_of(const Attributes *attributes, const FastWay *fast)
{
    Py_ssize_t count = PyBytes_GET_SIZE(fast->its[F_PLACES]) - P_SITE;
    PyObject *site = NULL, *place = PyTuple_New(count);
    for (Py_ssize_t index = 0; place != NULL && index < count; index++) {
        PyObject *value = attribute(attributes, (int)(P_SITE + index));
        /* Others may equal one that is written differently, or run code when they are looked up. */
        if (!PyUnicode_CheckExact(value) && !PyLong_CheckExact(value) && value != Py_None) {
            Py_DECREF(place);
            return NULL;
        }
        PyTuple_SET_ITEM(place, index, Py_NewRef(value));
    }
    if (place != NULL) {
        site = Py_XNewRef(PyDict_GetItemWithError(fast->its[F_SITES], place));
    }
    if (site == NULL && !PyErr_Occurred()) {
        site = PyObject_GetItem(fast->its[F_SITES], place); /* its __missing__() makes one */
    }
    Py_XDECREF(place);
    return site;
}

/* Whether it is a text, a number or None, whose text no code of the program makes. */
static int
is_plain(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) ||
           PyBool_Check(value) || value == Py_None;
}

/* Return the tuple of names whose values are hidden; NULL where none is. */
static PyObject *
hidden_of(const FastWay *fast)
{
    return fast->its[F_HIDDEN] == Py_None ? NULL : fast->its[F_HIDDEN];
}

/* Return a new reference to the message. */
static PyObject *
message_of(const FastWay *fast, PyObject *text, PyObject *arguments)
{
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *value = PyTuple_GET_ITEM(arguments, index);
        if (!is_plain(value) || (hidden_of(fast) != NULL && PyUnicode_CheckExact(value) &&
                                 may_hide(value))) {
            return NULL;
        }
    }
    return count == 0 ? Py_NewRef(text) : PyUnicode_Format(text, arguments);
}

/* Return a new reference to the name of the task that logs; None for none. */
static PyObject *
task_of(const Attributes *attributes, const FastWay *fast)
{
    return attributes->places[P_TASK_NAME] == NO_PLACE /* before Python 3.12 */
               ? PyObject_CallNoArgs(fast->its[F_TASK_NAME])
               : Py_NewRef(attribute(attributes, P_TASK_NAME));
}

/* Return the key as it is stored, None for no key. */
static PyObject *
stored_key(PyObject *key)
{
    if (key == Py_None || PyBytes_CheckExact(key)) {
        return Py_NewRef(key);
    }
    if (PyUnicode_CheckExact(key)) {
        return PyUnicode_AsUTF8String(key);
    }
    if (PyLong_CheckExact(key)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
        char digits[DIGITS], *first = digits_of(digits, number);
        return overflow ? NULL : PyBytes_FromStringAndSize(first, digits + DIGITS - first);
    }
    return NULL;
}

/* Call code that may be the program's: the thread counts as shipping meanwhile, so that records
 * which that code logs do not come back in here. */
static PyObject *
call_as_shipping(const FastWay *fast, PyObject *callable, PyObject *argument)
{
    PyObject *one = PyLong_FromLong(1), *zero = PyLong_FromLong(0), *made = NULL;
    if (PyObject_SetAttr(fast->its[F_HERE], fast->its[F_DEPTH], one) == 0) {
        made = PyObject_CallOneArg(callable, argument);
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        if (PyObject_SetAttr(fast->its[F_HERE], fast->its[F_DEPTH], zero) < 0) {
            PyErr_Clear();
        }
        PyErr_Restore(type, value, trace);
    }
    Py_DECREF(one);
    Py_DECREF(zero);
    return made;
}

/* Return a new reference to what the record has of its surroundings: a dict of the fields to be
 * written, one of all fields, and the JSON behind them; None where that needs care. */
static PyObject *
more_of(const FastWay *fast, PyObject *own)
{
    int spans = PyDict_Contains(PyImport_GetModuleDict(), fast->its[F_SPANS]);
    if (spans < 0) {
        return NULL;
    }
    return spans || fast->has_context ? call_as_shipping(fast, fast->its[F_MORE], own)
                                      : Py_NewRef(fast->its[F_NONE]);
}

/* -- what an item has --------------------------------------------------------------------------- */

/* The parts of a value; new references but for `own`. `more` is found last, as a tuple of more_of():
 * the program's code is not run for a record whose own fields need care. */
typedef struct {
    double created;
    Py_ssize_t extras; /* where PyDict_Next() finds them in `own` */
    PyObject *site, *message, *task, *own, *more;
} Parts;

static int
write_moment(const Json *json, FastWay *fast, double created)
{
    return json->style == KEY_VALUES ? write_nanos(json->buffer, created)
                                     : write_time(json->buffer, created, &fast->clock);
}

static int
write_value_of(Json *json, FastWay *fast, Parts *parts)
{
    Buffer *buffer = json->buffer;
    PyObject *taken = fast->its[F_TAKEN];
    int result;
    if ((result = buffer_write_bytes(buffer, PyTuple_GET_ITEM(parts->site, 0))) ||
        (result = write_moment(json, fast, parts->created)) ||
        (fast->its[F_MIDDLE] != Py_None &&
         ((result = buffer_write_bytes(buffer, fast->its[F_MIDDLE])) ||
          (result = write_moment(json, fast, parts->created)))) ||
        (result = buffer_write_bytes(buffer, PyTuple_GET_ITEM(parts->site, 1))) ||
        (result = write_text(json, parts->message)) ||
        (result = buffer_write_bytes(buffer, PyTuple_GET_ITEM(parts->site, 2)))) {
        return result;
    }
    if (parts->task != Py_None && (result = write_field(json, fast->its[F_TASK], parts->task))) {
        return result;
    }
    if ((result = write_fields(json, parts->own, parts->extras, taken))) {
        return result;
    }
    parts->more = more_of(fast, parts->own);
    if (parts->more == NULL || parts->more == Py_None) {
        return parts->more == NULL ? FAILED : NEEDS_CARE;
    }
    if ((result = write_fields(json, PyTuple_GET_ITEM(parts->more, 0), 0, taken))) {
        return result;
    }
    return buffer_write_bytes(buffer, PyTuple_GET_ITEM(parts->more, 2));
}

/* Write the value; return whether that was possible. */
static int
has_value(FastWay *fast, Parts *parts, Buffer *buffer)
{
    if ((parts->task != Py_None && !PyUnicode_CheckExact(parts->task)) ||
        !PyTuple_CheckExact(parts->site)) {
        return 0;
    }
    Json json = {.buffer = buffer, .most = (size_t)fast->most, .left = MOST_VALUES,
                 .deepest = DEEPEST_OF_LOG, .style = fast->style, .hidden = hidden_of(fast)};
    return write_value_of(&json, fast, parts) == WRITTEN;
}

/* Return an attribute of the record, or a field of the surroundings; borrowed. */
static PyObject *
field_of(const Parts *parts, PyObject *name)
{
    PyObject *found = PyDict_GetItemWithError(parts->own, name);
    return found != NULL || PyErr_Occurred() ? found : PyDict_GetItemWithError(PyTuple_GET_ITEM(parts->more, 1), name);
}

/* Return a new reference to the value of a field, None where there is none. `look` is its name; or a
 * tuple of its name and the names of a path through dicts, where there is no such field; or the
 * value itself: None, or bytes. */
static PyObject *
looked_up(const Parts *parts, PyObject *look)
{
    if (look == Py_None || PyBytes_Check(look)) {
        return Py_NewRef(look);
    }
    Py_ssize_t count = PyTuple_Check(look) ? PyTuple_GET_SIZE(look) : 0;
    PyObject *found = field_of(parts, count > 0 ? PyTuple_GET_ITEM(look, 0) : look);
    if (found == NULL && count > 1 && !PyErr_Occurred()) {
        found = field_of(parts, PyTuple_GET_ITEM(look, 1));
    }
    else {
        count = 0;
    }
    for (Py_ssize_t index = 2; found != NULL && index < count; index++) {
        if (!PyDict_CheckExact(found)) {
            return is_plain(found) || PyList_CheckExact(found) ? Py_NewRef(Py_None) : NULL;
        }
        found = PyDict_GetItemWithError(found, PyTuple_GET_ITEM(look, index));
    }
    return found == NULL && PyErr_Occurred() ? NULL : Py_NewRef(found == NULL ? Py_None : found);
}

/* Return the content of a header as bytes, or None. */
static PyObject *
content_of(PyObject *value)
{
    if (PyBytes_CheckExact(value) || value == Py_None) {
        return Py_NewRef(value);
    }
    PyObject *text = is_plain(value) ? PyObject_Str(value) : NULL;
    PyObject *made = text == NULL ? NULL : PyUnicode_AsUTF8String(text);
    Py_XDECREF(text);
    return made;
}

/* Write the headers that the record has; return how many, -1 where that needs care. */
static long long
write_headers(const FastWay *fast, const Parts *parts, Buffer *buffer)
{
    PyObject *headers = fast->its[F_HEADERS];
    long long count = 0;
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(headers); index++) {
        PyObject *name, *look;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(headers, index), "SO", &name, &look)) {
            return -1;
        }
        PyObject *value = looked_up(parts, look);
        PyObject *content = value == NULL ? NULL : content_of(value);
        Py_XDECREF(value);
        if (content == NULL) {
            return -1;
        }
        if (content != Py_None) {
            unsigned char sizes[SIZES];
            put(put(sizes, (uint64_t)PyBytes_GET_SIZE(name), 4),
                (uint64_t)PyBytes_GET_SIZE(content), 4);
            int failed = buffer_write(buffer, (char *)sizes, SIZES) < 0 ||
                         buffer_write_bytes(buffer, name) < 0 ||
                         buffer_write_bytes(buffer, content) < 0;
            count = failed ? -1 : count + 1;
        }
        Py_DECREF(content);
        if (count < 0) {
            return -1;
        }
    }
    return count;
}

static PyObject *
item_of(FastWay *fast, PyObject *record, PyObject *own, const Attributes *attributes)
{
    int overflow;
    double created = PyFloat_AS_DOUBLE(attribute(attributes, P_CREATED));
    long long level = PyLong_AsLongLongAndOverflow(attribute(attributes, P_LEVELNO), &overflow);
    if (overflow || !(created * 1000 < 9.2e18)) {
        return NULL;
    }
    PyObject *made = NULL, *key = NULL, *data = NULL, *topic = NULL;
    Parts parts = {.created = created, .own = own, .extras = attributes->end};
    Contents its;
    Buffer buffer, headers;
    buffer_begin(&buffer);
    buffer_begin(&headers);
    if ((parts.site = site_of(attributes, fast)) == NULL ||
        (parts.task = task_of(attributes, fast)) == NULL ||
        (parts.message = message_of(fast, attribute(attributes, P_MSG),
                                    attribute(attributes, P_ARGS))) == NULL ||
        !has_value(fast, &parts, &buffer) || (key = looked_up(&parts, fast->its[F_KEY])) == NULL ||
        (data = stored_key(key)) == NULL ||
        (its.header_count = write_headers(fast, &parts, &headers)) < 0) {
        goto end;
    }
    topic = fast->its[F_TOPIC];
    topic = PyUnicode_Check(topic) ? Py_NewRef(topic) : call_as_shipping(fast, topic, record);
    if (topic != NULL && PyUnicode_Check(topic)) {
        its.key = blob_of(data);
        its.value = (Blob){buffer.data, (Py_ssize_t)buffer.size};
        its.headers = (Blob){headers.data, (Py_ssize_t)headers.size};
        made = new_quick_item(topic, key, &its, fast->keeps_source ? record : Py_None,
                              (long long)(created * 1000), level);
    }
    if (made != NULL && ((QuickItem *)made)->size > fast->most) {
        Py_CLEAR(made);
    }
end:
    Py_XDECREF(parts.site);
    Py_XDECREF(parts.task);
    Py_XDECREF(parts.message);
    Py_XDECREF(parts.more);
    Py_XDECREF(key);
    Py_XDECREF(topic);
    Py_XDECREF(data);
    buffer_end(&buffer);
    buffer_end(&headers);
    return made;
}

static PyObject *
item_from(FastWay *fast, PyObject *record)
{
    if ((PyObject *)Py_TYPE(record) != fast->its[F_KIND]) {
        return NULL;
    }
    PyObject *own = PyObject_GenericGetDict(record, NULL), *made = NULL;
    if (own == NULL) {
        return NULL;
    }
    Attributes attributes;
    if (read_attributes(&attributes, own, fast) && is_simple(own, &attributes, fast)) {
        made = item_of(fast, record, own, &attributes);
    }
    while (attributes.count > 0) {
        Py_DECREF(attributes.values[--attributes.count]);
    }
    Py_DECREF(own);
    if (made == NULL && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear(); /* the careful way will find what is wrong; not so KeyboardInterrupt */
    }
    return made;
}

/* -- where it goes ------------------------------------------------------------------------------ */

/* Queue the item if there is plenty of room; return how many are queued, 0 if there is not, -1 with
 * an error. No Python code runs in here. */
static Py_ssize_t
queue_item(const FastWay *fast, PyObject *item)
{
    Counts *counts = (Counts *)fast->its[F_COUNTS];
    long long memory = ((QuickItem *)item)->memory;
    if (counts->closed || counts->kept - counts->ended >= counts->many_records ||
        counts->bytes_kept - counts->bytes_ended + memory > counts->many_bytes) {
        return 0;
    }
    PyObject *done = PyObject_CallOneArg(fast->its[F_APPEND], item);
    if (done == NULL) {
        return -1;
    }
    Py_DECREF(done);
    counts->emitted++;
    counts->kept++;
    counts->bytes_kept += memory;
    return PyObject_Size(fast->its[F_QUEUE]);
}

/* Append the item to the tail; return how many records wait to be read, -1 where the reader need not
 * be woken for them, 0 where that needs care. */
static Py_ssize_t
append_item(const FastWay *fast, PyObject *item)
{
    Tail *tail = (Tail *)fast->its[F_TAIL];
    JournalCounts *journal = tail->counts;
    Counts *counts = (Counts *)fast->its[F_COUNTS];
    PyObject *frame = packed(item, 0, tail->seed);
    int done = frame == NULL ? -1 : 0;
    /* Python code may have run since needs_care(), and close() waits only for writes under way. */
    if (done == 0 && frame != Py_None && !counts->closed) {
        done = tail_append(tail, frame);
    }
    Py_XDECREF(frame);
    if (done <= 0) {
        PyErr_Clear(); /* no memory: Python will drop and count it */
        return 0;
    }
    if (journal->asleep) {
        journal->asleep = 0;
        return 1;
    }
    return journal->pending == counts->batch_size ? (Py_ssize_t)journal->pending : -1;
}

static int
call_wake(const FastWay *fast, long long number)
{
    PyObject *done = PyObject_CallFunction(fast->its[F_WAKE], "L", number);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Wake the reader. A signal handler may raise meanwhile, or before that has even begun: then the
 * reader is woken as for a full batch, because nothing else would wake it. Without memory for it,
 * the next record wakes it. */
static int
wake(const FastWay *fast, Py_ssize_t queued)
{
    Counts *counts = (Counts *)fast->its[F_COUNTS];
    if (call_wake(fast, queued) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        counts->unwoken = 1;
        return 0;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (call_wake(fast, counts->batch_size) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, trace);
    return -1;
}

/* Whether the handler, or the place where it is called, needs the care of Python. */
static int
needs_care(const FastWay *fast)
{
    const Counts *counts = (const Counts *)fast->its[F_COUNTS];
    if (counts->crowded || counts->closed || PyDict_GET_SIZE(fast->its[F_BLOCKS]) > 0 ||
        is_forked(fast)) {
        return 1;
    }
    PyObject *depth = PyObject_GetAttr(fast->its[F_HERE], fast->its[F_DEPTH]);
    int result = depth == NULL || !PyLong_CheckExact(depth) || PyLong_AsLong(depth) != 0;
    Py_XDECREF(depth);
    PyErr_Clear();
    return result;
}

/* emit(record) -> bool: whether it is queued or appended; if not, nothing has happened. */
static PyObject *
fast_emit(PyObject *self, PyObject *record)
{
    FastWay *fast = (FastWay *)self;
    PyObject *item = needs_care(fast) ? NULL : item_from(fast, record);
    if (item == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    }
    Py_ssize_t queued = 0;
    if (fast->its[F_TAIL] != Py_None) {
        queued = append_item(fast, item);
    }
    else if (fast->its[F_QUEUE] != Py_None) {
        queued = queue_item(fast, item);
        if (queued < 0 && !PyErr_ExceptionMatches(PyExc_MemoryError)) {
            Py_DECREF(item);
            return NULL;
        }
        PyErr_Clear(); /* no memory: Python will drop and count it */
        queued = queued < 0 ? 0 : queued;
    }
    Py_DECREF(item);
    const Counts *counts = (const Counts *)fast->its[F_COUNTS];
    if (queued != 0 && (queued == 1 || queued == counts->batch_size || counts->unwoken) &&
        wake(fast, queued) < 0) {
        return NULL;
    }
    return PyBool_FromLong(queued != 0);
}

/* convert(record) -> QuickItem | None: None where the record needs care. */
static PyObject *
fast_convert(PyObject *self, PyObject *record)
{
    PyObject *item = item_from((FastWay *)self, record);
    return item != NULL || PyErr_Occurred() ? item : Py_NewRef(Py_None);
}

/* -- the type ----------------------------------------------------------------------------------- */

static PyObject *
fast_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {
        "kind", "names", "places", "sites", "second", "task_name", "more", "taken", "hidden", "middle", "none", "topic", "key", "headers",
        "here", "blocks", "counts", "queue", "wake", "tail", "style", "most", "has_context",
        "keeps_source", NULL};
    PyObject *its[F_COUNT] = {NULL};
    Py_ssize_t most;
    int style, has_context, keeps_source;
    if (!PyArg_ParseTupleAndKeywords(
            args, named, "O!O!SOOOOO!OOO!OOO!OO!O!OOOinpp", names, &PyType_Type, &its[F_KIND],
            &PyTuple_Type, &its[F_NAMES], &its[F_PLACES], &its[F_SITES], &its[F_SECOND],
            &its[F_TASK_NAME], &its[F_MORE], &PyFrozenSet_Type, &its[F_TAKEN], &its[F_HIDDEN], &its[F_MIDDLE], &PyTuple_Type, &its[F_NONE], &its[F_TOPIC],
            &its[F_KEY], &PyTuple_Type, &its[F_HEADERS], &its[F_HERE], &PyDict_Type, &its[F_BLOCKS], &COUNTS, &its[F_COUNTS],
            &its[F_QUEUE], &its[F_WAKE], &its[F_TAIL], &style, &most, &has_context, &keeps_source)) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(its[F_NAMES]) > MOST_NAMES || PyBytes_GET_SIZE(its[F_PLACES]) < P_SITE ||
        !PyDict_Check(its[F_SITES]) ||
        (its[F_HIDDEN] != Py_None && !PyTuple_Check(its[F_HIDDEN])) ||
        (its[F_TAIL] != Py_None && !Py_IS_TYPE(its[F_TAIL], &TAIL))) {
        PyErr_SetString(PyExc_TypeError, "FastWay(): arguments of other types were expected");
        return NULL;
    }
    FastWay *fast = (FastWay *)type->tp_alloc(type, 0);
    if (fast == NULL) {
        return NULL;
    }
    for (int index = 0; index < F_GIVEN; index++) {
        fast->its[index] = Py_NewRef(its[index]);
    }
    fast->most = most;
    fast->style = style;
    fast->has_context = has_context;
    fast->keeps_source = keeps_source;
    mark_process(fast);
    fast->clock = (Clock){.text_of = fast->its[F_SECOND], .second = -1};
    fast->its[F_APPEND] = its[F_QUEUE] == Py_None ? Py_NewRef(Py_None)
                                                  : PyObject_GetAttrString(its[F_QUEUE], "append");
    fast->its[F_MESSAGE] = PyUnicode_InternFromString("message");
    fast->its[F_TASK] = PyUnicode_InternFromString("task");
    fast->its[F_SPANS] = PyUnicode_InternFromString("opentelemetry.trace");
    fast->its[F_DEPTH] = PyUnicode_InternFromString("depth");
    if (PyErr_Occurred()) {
        Py_CLEAR(fast);
    }
    return (PyObject *)fast;
}

static int
fast_traverse(PyObject *self, visitproc visit, void *arg)
{
    for (int index = 0; index < F_COUNT; index++) {
        Py_VISIT(((FastWay *)self)->its[index]);
    }
    return 0;
}

static void
fast_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    unmark_process((FastWay *)self);
    for (int index = 0; index < F_COUNT; index++) {
        Py_CLEAR(((FastWay *)self)->its[index]);
    }
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef FAST_METHODS[] = {
    {"convert", fast_convert, METH_O, "convert(record) -> QuickItem | None"},
    {"emit", fast_emit, METH_O, "emit(record) -> bool"},
    {NULL, NULL, 0, NULL},
};

/* It has no tp_clear, so that its methods never find an object missing: the cycles that it is in go
 * through a dict of the handler. */
PyTypeObject FAST_WAY = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "kiel_logging._accelerator.FastWay",
    .tp_basicsize = sizeof(FastWay),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = fast_new,
    .tp_dealloc = fast_dealloc,
    .tp_traverse = fast_traverse,
    .tp_methods = FAST_METHODS,
};
