package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"kenshin/collector"
	"kenshin/collector/series"
	"kenshin/configs"
)

// seriesCommands are those on the series store. They work beside a running collector.
type seriesCommands struct {
	Dump  seriesDump  `cmd:"" help:"Print all samples, then those that came second with another value, as JSON lines."`
	Check seriesCheck `cmd:"" help:"Read all of the series store and compare it with its checksums. Exit 1 says what is damaged; rebuild makes it anew."`
	Size  seriesSize  `cmd:"" help:"Say what the files of the series store hold and how large they are."`
}

// readSeries opens the series store of a folder.
func (p *place) readSeries(config string) (*series.DB, error) {
	data := p.Dir
	if data == "" {
		cfg, err := load(config)
		if err != nil {
			return nil, configs.Setup(err)
		}
		data = cfg.Data
	}
	file := collector.SeriesFiles(data)[0]
	if _, err := os.Stat(file); err != nil { // opening would make one
		return nil, configs.Setup(fmt.Errorf("%w: no collector has run there", err))
	}
	return series.Open(file)
}

type seriesDump struct{ place }

func (c *seriesDump) run(ctx context.Context, config string, w io.Writer) error {
	db, err := c.readSeries(config)
	if err != nil {
		return err
	}
	return errors.Join(db.Dump(ctx, w), db.Close())
}

type seriesCheck struct{ place }

func (c *seriesCheck) run(ctx context.Context, config string, w io.Writer) error {
	db, err := c.readSeries(config)
	if err != nil {
		return err
	}
	problems := 0
	files, err := db.Check(ctx, func(text string) {
		problems++
		fmt.Fprintln(w, text)
	})
	if err = errors.Join(err, tell(w, files), db.Close()); err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("the series store is damaged in %d places: stop the collector and run `kenshin-collector rebuild`", problems)
	}
	return nil
}

type seriesSize struct{ place }

func (c *seriesSize) run(ctx context.Context, config string, w io.Writer) error {
	db, err := c.readSeries(config)
	if err != nil {
		return err
	}
	files, err := db.Size(ctx)
	return errors.Join(err, tell(w, files), db.Close())
}

// tell prints files, one a line, and their sum.
func tell(w io.Writer, files []series.FileStat) error {
	var sum series.FileStat
	for _, f := range files {
		values := "not counted"
		if f.Values > 0 || f.Chunks == 0 {
			values = fmt.Sprint(f.Values)
		}
		fmt.Fprintf(w, "%-20s %12d bytes %8d chunks %10d rows %12s samples\n", f.Name, f.Bytes, f.Chunks, f.Rows, values)
		sum.Bytes, sum.Values, sum.Chunks = sum.Bytes+f.Bytes, sum.Values+f.Values, sum.Chunks+f.Chunks
	}
	_, err := fmt.Fprintf(w, "%d bytes in %d files\n", sum.Bytes, len(files))
	return err
}
