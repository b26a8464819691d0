"""Work that every runner needs of the operating system: files, archives, trees, processes."""
