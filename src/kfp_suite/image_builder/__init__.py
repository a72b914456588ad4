"""Container images: what each is made from, how it is built, and which one ran."""
