//go:build !linux

package main

// unmapProgram does nothing where the kernel is not Linux.
func unmapProgram() {}
