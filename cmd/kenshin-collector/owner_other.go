//go:build !unix

package main

// giveTo leaves the file to whoever wrote it.
func giveTo(path, dir string) error { return nil }
