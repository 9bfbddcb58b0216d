package influx

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	batchLines = 5000 // of one request
	batchBytes = 4 << 20
	firstWait  = 500 * time.Millisecond // before a request is made again, doubled each time
	maxWait    = 30 * time.Second
	maxWords   = 1000 // bytes of an answer that are kept
)

// deliver writes lines until the server has each of them, has refused it by itself,
// or ctx ends. What it refuses is kept with its words.
func (p *Projection) deliver(ctx context.Context, lines []line) error {
	for len(lines) > 0 {
		n, bytes := 0, 0
		for n < len(lines) && n < int(p.batch.Load()) && (n == 0 || bytes+len(lines[n].text) < batchBytes) {
			bytes += len(lines[n].text) + 1
			n++
		}
		if err := p.part(ctx, lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// part delivers lines of one request, cut in two as often as the server wants it.
func (p *Projection) part(ctx context.Context, lines []line) error {
	switch v, err := p.insist(ctx, lines); {
	case v == stored:
		p.metrics.points.Add(fields(lines))
		return nil
	case v == expired:
		p.metrics.expired.Add(fields(lines)) // how many of them, only the server knows
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, l := range lines {
			p.lacks(dayOf(l))
		}
		return nil
	case v == tooLarge && len(lines) > 1:
		p.batch.Store(int64(max(1, min(len(lines)/2, int(p.batch.Load())))))
		return p.halves(ctx, lines)
	case v == tooLarge:
		return p.refuse(lines[0], err)
	case v == partly && len(lines) > 1:
		return p.halves(ctx, lines)
	case v == partly:
		return p.single(ctx, lines[0], err)
	default:
		return err
	}
}

func (p *Projection) halves(ctx context.Context, lines []line) error {
	if err := p.part(ctx, lines[:len(lines)/2]); err != nil {
		return err
	}
	return p.part(ctx, lines[len(lines)/2:])
}

// single deals with a line that the server refuses: field by field, and only when
// it takes a line that cannot be at fault. Otherwise it is the server that is.
func (p *Projection) single(ctx context.Context, l line, refused error) error {
	probe := []line{{"kenshin_probe,server=" + tagValue(p.cfg.Server.Name) + " taken=1i 0", 1}}
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		v, err := p.insist(ctx, probe)
		if v == stored || v == expired {
			break
		}
		if v != partly {
			return err
		}
		p.is("refuses everything", err, time.Now())
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	if parts := split(l); len(parts) > 1 {
		for _, f := range parts {
			if err := p.part(ctx, []line{f}); err != nil {
				return err
			}
		}
		return nil
	}
	return p.refuse(l, refused)
}

// insist makes a request again until the answer is about its lines, or ctx ends.
func (p *Projection) insist(ctx context.Context, lines []line) (verdict, error) {
	stuck := false
	moves := func() {
		if stuck {
			p.stuck.Add(-1)
		}
		stuck = false
	}
	defer moves()
	for wait := firstWait; ; wait = min(2*wait, p.cfg.maxWait()) {
		began := time.Now()
		var v verdict
		var pause time.Duration
		err := p.authorize()
		health := "has no token"
		if err == nil {
			if err = p.link.send(ctx, lines); ctx.Err() != nil {
				return again, ctx.Err()
			}
			v, pause = judge(err)
			health = map[verdict]string{again: down, stopped: refuses}[v]
			p.refusedUs.Store(v == stopped)
			if health == "" {
				moves()
				p.is(up, nil, began)
				return v, err
			}
		}
		if !stuck {
			stuck = true
			p.stuck.Add(1)
		}
		p.is(health, err, began)
		p.metrics.retries.Inc()
		if err := sleep(ctx, max(wait, pause)); err != nil {
			return again, err
		}
	}
}

// authorize takes the token at the beginning and after it was refused: by then
// somebody may have mended it.
func (p *Projection) authorize() error {
	if !p.refusedUs.Load() {
		return nil
	}
	err := p.link.authorize()
	if err == nil {
		p.refusedUs.Store(false)
	}
	return err
}

// refuse keeps a line that the server does not take, with its words.
func (p *Projection) refuse(l line, why error) error {
	words := wordsOf(why)
	if len(words) > maxWords {
		words = words[:maxWords]
	}
	text, err := json.Marshal(refused{time.Now().UTC().Format(time.RFC3339), words, l.text})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.metrics.refused.Add(float64(l.fields))
	p.lacks(dayOf(l))
	p.log.Warn("the server refuses a line; it is kept aside", zap.String("line", l.text), zap.String("words", words), zap.String("file", p.refusedFile()))
	f, err := os.OpenFile(p.refusedFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}

// lacks notes that the server has not all of a day; the caller holds mu.
func (p *Projection) lacks(e edgeDay) { p.state.Differ = withDay(p.state.Differ, e.edge, e.day) }

// dayOf returns the day of the samples of a line; the edge of figures is "".
func dayOf(l line) (e edgeDay) {
	head, at := l.text[:end(l.text, ' ')], l.text[strings.LastIndexByte(l.text, ' ')+1:]
	if ms, err := strconv.ParseInt(at, 10, 64); err == nil {
		e.day = utcDay(ms)
	}
	if _, tags, found := strings.Cut(head, ",edge="); found {
		e.edge = outOfKey.Replace(tags[:end(tags, ',')])
	}
	return e
}

var outOfKey = strings.NewReplacer(`\ `, ` `, `\,`, `,`, `\=`, `=`)

// refused is a line of the file of what a server did not take.
type refused struct {
	At    string `json:"at"`
	Words string `json:"words"`
	Line  string `json:"line"`
}

// split returns the fields of a line, each in a line of its own.
func split(l line) []line {
	if l.fields < 2 {
		return nil
	}
	head := end(l.text, ' ')
	rest := l.text[head+1:]
	tail := strings.LastIndexByte(rest, ' ')
	list, at := rest[:tail], rest[tail:]
	var out []line
	for len(list) > 0 {
		n := end(list, ',')
		out = append(out, line{l.text[:head+1] + list[:n] + at, 1})
		list = strings.TrimPrefix(list[n:], ",")
	}
	return out
}

// end returns where the first c stands that is neither escaped nor in a string.
func end(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == c && !quoted:
			return i
		}
	}
	return len(s)
}

func fields(lines []line) (n float64) {
	for i := range lines {
		n += float64(lines[i].fields)
	}
	return n
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
