"""What comes from a stranger: image files, folders, tables and arrays, checked before anything is trained on."""
