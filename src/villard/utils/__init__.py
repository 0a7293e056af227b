"""Small tools used by all rooms: paths, files, units, names, array namespaces."""
