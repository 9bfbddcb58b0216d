//go:build !unix

package configs

// giveTo leaves the file to whoever wrote it.
func giveTo(string, string) error { return nil }
