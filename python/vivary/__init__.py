"""The Python side of Vivary: what warms the interpreter up, and what runs a script in a worker."""
