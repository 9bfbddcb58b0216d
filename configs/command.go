package configs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// setup is an error before anything was started.
type setup struct{ error }

func (s setup) Unwrap() error { return s.error }

// Setup marks an error as one before anything was started: wrong usage, wrong
// configuration, or something the configuration names cannot be had.
func Setup(err error) error { return setup{err} }

// Main runs a command until it ends or is told to stop, by Ctrl-C or SIGTERM, and
// exits with ExitCode.
func Main(name string, run func(ctx context.Context, args []string, stdout, stderr io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(ExitCode(err))
	}
}

// ExitCode is 0 for no error, 2 for one that Setup marked and 1 for any other.
// A disk that is full or fails at the start is 1 all the same: it passes without
// anybody changing the configuration, and what starts services again shall try.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		return 1
	case errors.As(err, &setup{}):
		return 2
	}
	return 1
}

// Parse reads a command line into cli, a pointer to a struct as kong wants it,
// and returns the command, such as "dump <dir>", "" when there are none. It is
// done when help was asked for and given. An error is marked by Setup.
func Parse(name, description string, cli any, args []string, stdout, stderr io.Writer) (command string, done bool, err error) {
	helped := false
	parser, err := kong.New(cli, kong.Name(name), kong.Description(description), kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return "", false, err
	}
	k, err := parser.Parse(Flags(args))
	switch {
	case helped:
		return "", true, nil
	case err != nil:
		return "", false, Setup(fmt.Errorf("%w; see %s --help", err, name))
	}
	return k.Command(), false, nil
}

// Version returns what a release was stamped with, or else what the build knows.
func Version(stamped string) string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
