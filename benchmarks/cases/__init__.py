"""The cases, a module a subject, each with one function a side; imported when one is measured."""
