/* The module kiel_logging._accelerator: what is in it. */

#include "accelerator.h"

static PyMethodDef METHODS[] = {
    {"compose", (PyCFunction)(void (*)(void))compose, METH_FASTCALL,
     "compose(created, head, message, tail, own, skipped, more, taken, end, most) -> bytes | None"},
    {"convert", (PyCFunction)(void (*)(void))convert, METH_FASTCALL,
     "convert(settings, record) -> Item | None"},
    {"convert_quick", (PyCFunction)(void (*)(void))convert_quick, METH_FASTCALL,
     "convert_quick(settings, record) -> QuickItem | Item | None"},
    {"encode_records", encode_records, METH_VARARGS,
     "encode_records(records, base_timestamp, first_offset_delta) -> bytes"},
    {"group", (PyCFunction)(void (*)(void))group, METH_FASTCALL,
     "group(items, known, find) -> list"},
    {"item_settings", (PyCFunction)(void (*)(void))item_settings, METH_FASTCALL,
     "item_settings(topic, record, item, record_size, overhead) -> tuple"},
    {"latest_timestamp", latest_timestamp, METH_O, "latest_timestamp(records) -> int"},
    {"memory_of", memory_of, METH_O, "memory_of(items) -> int"},
    {"murmur2", murmur2, METH_O, "murmur2(key) -> int"},
    {"pack_frame", (PyCFunction)(void (*)(void))pack_frame, METH_FASTCALL,
     "pack_frame(item, waiter, seed) -> bytes | None"},
    {"queue_up", (PyCFunction)(void (*)(void))queue_up_method, METH_FASTCALL,
     "queue_up(counts, queue, append, item) -> int"},
    {"records_of", records_of, METH_O, "records_of(items) -> list"},
    {"scan_items", scan_items, METH_VARARGS,
     "scan_items(block, at, most, seed, settings) -> (items, ends, at)"},
    {"sizes_of", sizes_of, METH_O, "sizes_of(items) -> list"},
    {"stamp", (PyCFunction)(void (*)(void))stamp, METH_FASTCALL,
     "stamp(items, instance, name, sequences) -> list"},
    {"take", (PyCFunction)(void (*)(void))take, METH_FASTCALL, "take(popleft, most) -> list"},
    {"to_json", to_json, METH_O, "to_json(value) -> bytes | None"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "kiel_logging._accelerator", "The hottest loops of the package; see kiel_logging/accelerator.", -1, METHODS,
    NULL, NULL, NULL, NULL,
};

PyObject *N_message, *N_open_telemetry, *N_depth, *N_filters, *N_formatter, *N_emit;

static int
intern(PyObject **name, const char *text)
{
    *name = PyUnicode_InternFromString(text);
    return *name == NULL ? -1 : 0;
}

PyMODINIT_FUNC
PyInit__accelerator(void)
{
    if (intern(&N_message, "message") < 0 || intern(&N_depth, "depth") < 0 ||
        intern(&N_filters, "filters") < 0 || intern(&N_formatter, "formatter") < 0 ||
        intern(&N_emit, "emit") < 0 || intern(&N_open_telemetry, "opentelemetry.trace") < 0) {
        return NULL;
    }
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && (PyModule_AddType(module, &QUICK_ITEM) < 0 ||
                           PyModule_AddType(module, &COUNTS) < 0 ||
                           PyModule_AddType(module, &QUICK_HANDLE) < 0 ||
                           PyModule_AddType(module, &GATE) < 0 ||
                           PyModule_AddType(module, &TAIL) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
