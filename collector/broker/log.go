package broker

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// forward gives the library's warnings and errors to zap. Only attributes known
// to be harmless go along: others hold whole packets, payload and password
// included.
type forward struct{ log *zap.Logger }

func (f forward) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (f forward) Handle(_ context.Context, r slog.Record) error {
	level := zapcore.WarnLevel
	if r.Level >= slog.LevelError {
		level = zapcore.ErrorLevel
	}
	var fields []zap.Field
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "error", "client", "remote", "keepalive", "recommended":
			fields = append(fields, zap.String(a.Key, printable(a.Value.String())))
		}
		return true
	})
	f.log.Log(level, r.Message, fields...)
	return nil
}

func (f forward) WithAttrs([]slog.Attr) slog.Handler { return f }
func (f forward) WithGroup(string) slog.Handler      { return f }
