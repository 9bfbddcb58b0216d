package cmd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kenshin/collector/store"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// The rigs kill9 and powercut run a process that does what edge and collector do
// with their disks: records into an outbox, batches of them into a book, acks
// back; and look at what is left when it ends without warning.
//
//	KENSHIN_PIPEKILLS  how often TestKill9 kills (default 60)
//	KENSHIN_CUTS       how often TestPowerCut cuts the power (default 0)
//	KENSHIN_SEED       of both; without it one is taken from the clock

const pipelineEnv = "KENSHIN_PIPELINE" // folder in which the child works until it is ended

var pipelineKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// pipeline is an outbox and a book in one folder.
type pipeline struct {
	box   *outbox.Outbox
	book  *store.Store
	chain wire.Hash
	have  uint64 // records of the outbox that are in the book
}

// openPipeline refuses whatever a crash may not leave behind.
func openPipeline(dir string) (*pipeline, string, error) {
	box, report, err := outbox.Open(filepath.Join(dir, "outbox"), outbox.Options{Edge: "site-1", MaxBytes: 1 << 20})
	if err != nil {
		return nil, "", err
	}
	book, found, err := store.Open(filepath.Join(dir, store.BookDir), store.Options{Origin: "kenshin/rig", Key: pipelineKey})
	if err != nil {
		return nil, "", errors.Join(err, box.Close())
	}
	p := &pipeline{box: box, book: book}
	if report.Renewed != "" || len(report.Journal.Damages)+len(found.Records.Damages)+len(found.Checkpoints.Damages) > 0 {
		return nil, "", errors.Join(fmt.Errorf("damage after a crash: %v; %v", report, found), p.close())
	}
	err = book.Scan(0, func(r *store.Record) error {
		payload, err := wire.Payload(wire.BatchType, r.Payload)
		if err != nil {
			return err
		}
		b, err := wire.DecodeHeader(payload)
		if err == nil && r.First != p.have+1 {
			err = fmt.Errorf("I1: book record %d begins with %d, %d is due", r.Index, r.First, p.have+1)
		}
		if err == nil {
			p.have, p.chain = r.Last, b.Chain
		}
		return err
	})
	if err != nil {
		return nil, "", errors.Join(err, p.close())
	}
	repaired := ""
	if !report.Clean() || !found.Clean() {
		repaired = fmt.Sprint(report, "; ", found)
	}
	return p, repaired, p.ack()
}

func (p *pipeline) close() error { return errors.Join(p.box.Close(), p.book.Close()) }

// ack tells the outbox what the book has.
func (p *pipeline) ack() error {
	if p.have <= p.box.Acked() {
		return nil
	}
	return p.box.Ack(p.have, p.chain)
}

// deliver takes a batch from the outbox into the book.
func (p *pipeline) deliver() error {
	recs, prev, chain, err := p.box.Read(p.have+1, 50, 64<<10)
	if err != nil {
		return err
	}
	last := recs[len(recs)-1].Seq
	payload, err := wire.EncodeBatch(&wire.Batch{Edge: "site-1", Epoch: p.box.Epoch(), First: p.have + 1, Last: last, Prev: prev, Chain: chain, Records: recs}, nil)
	if err == nil {
		payload, err = wire.Seal(wire.BatchType, payload, pipelineKey)
	}
	if err == nil {
		_, err = p.book.Append(&store.Record{Kind: store.Batch, Subject: "site-1", Epoch: p.box.Epoch(), First: p.have + 1, Last: last, Payload: payload})
	}
	if err == nil {
		p.have, p.chain = last, chain
	}
	return err
}

// pipelineRecord is record seq: of a size and with bytes that follow from it.
func pipelineRecord(seq uint64) wire.Record {
	rnd := rand.New(rand.NewPCG(seq, 7))
	words := make([]uint16, 1+rnd.IntN(wire.MaxCount))
	for i := range words {
		words[i] = uint16(rnd.Uint32())
	}
	return wire.Record{Seq: seq, Wall: 1_600_000_000_000 + int64(seq), Reading: &wire.Reading{Blocks: []wire.BlockResult{{Words: words}}}}
}

// TestPipelineChild is not a test but the process that the rigs end.
func TestPipelineChild(t *testing.T) {
	dir := os.Getenv(pipelineEnv)
	if dir == "" {
		t.Skip("runs only as the child of kill9 and powercut")
	}
	p, _, err := openPipeline(dir)
	if err != nil {
		t.Fatal(err)
	}
	say := func(what string, n uint64) { fmt.Printf("%s %d\n", what, n) }
	say("opened", p.book.Generation())
	for n := uint64(0); err == nil; n++ {
		var recs []wire.Record
		for range 1 + n%4 {
			recs = append(recs, pipelineRecord(p.box.Last()+1+uint64(len(recs))))
		}
		if _, err = p.box.Append(recs...); err == nil {
			say("recorded", p.box.Last())
		}
		if err == nil && n%2 == 1 {
			if err = p.deliver(); err == nil {
				say("stored", p.have)
				err = p.ack()
			}
		}
		if err == nil && n%16 == 7 {
			if _, err = p.book.Checkpoint(); err == nil {
				say("signed", p.book.Size())
			}
		}
	}
	t.Fatal(err) // the disk is gone, or this is a bug: the parent tells
}

// confirmed is what the child has said.
type confirmed struct{ opened, recorded, stored, signed uint64 }

// runChild runs the child until it has said n things and a little longer, then
// calls end and waits for it.
func runChild(ctx context.Context, dir string, n int, longer time.Duration, c *confirmed, end func(*os.Process)) (said int, err error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPipelineChild$")
	cmd.Env = append(os.Environ(), pipelineEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var stacks bytes.Buffer
	cmd.Stderr = &stacks
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// One that gets nowhere says where it is.
	stuck := time.AfterFunc(2*time.Minute, func() { cmd.Process.Signal(syscall.SIGQUIT) })
	defer stuck.Stop()
	ended := false
	in := bufio.NewScanner(out)
	var rest strings.Builder
	for in.Scan() {
		var what string
		var v uint64
		if _, err := fmt.Sscanf(in.Text(), "%s %d", &what, &v); err != nil {
			rest.WriteString(in.Text() + "\n")
			continue
		}
		switch what {
		case "opened":
			if v <= c.opened {
				rest.WriteString(fmt.Sprintf("generation %d behind %d\n", v, c.opened))
			}
			c.opened = v
		case "recorded":
			c.recorded = v
		case "stored":
			c.stored = v
		case "signed":
			c.signed = v
		default:
			rest.WriteString(in.Text() + "\n")
			continue
		}
		if said++; said >= n && !ended {
			ended = true
			time.Sleep(longer)
			end(cmd.Process)
		}
	}
	cmd.Wait() // it was killed, or its disk went
	if !ended {
		return said, fmt.Errorf("the child ended by itself after %d things:\n%s%s", said, rest.String(), stacks.String())
	}
	return said, nil
}

// inspect opens what is left and checks it against what was confirmed. With heal
// everything is delivered and must be there.
func (c *confirmed) inspect(dir string, heal bool) (repaired string, err error) {
	p, repaired, err := openPipeline(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if p.box.Last() < c.recorded || p.have < c.stored || p.book.Generation() <= c.opened {
		return "", fmt.Errorf("recorded %d, stored %d, generation %d; confirmed were %+v", p.box.Last(), p.have, p.book.Generation(), *c)
	}
	if err := checkDelivery(p.box.First(), p.box.Acked(), p.have); err != nil {
		return "", err
	}
	for heal && p.have < p.box.Last() {
		if err := p.deliver(); err != nil {
			return "", err
		}
	}
	seen := make(witness)
	h := seen.of(stream{"site-1", p.box.Epoch()})
	for seq := uint64(1); seq <= p.box.Last(); seq++ {
		rec := pipelineRecord(seq)
		h.after = append(h.after, wire.Chain(h.after[seq-1], rec.Encode()))
	}
	if !heal {
		h.from, h.to = p.have+1, p.box.Last() // these are still to be delivered
	}
	if err := checkBook(p.book, seen); err != nil {
		return "", err
	}
	var problem error
	done, err := p.book.Scrub(context.Background(), nil, func(x store.Problem) { problem = x })
	if err == nil && problem == nil && c.signed > 0 && done.Checkpoints == 0 {
		problem = fmt.Errorf("no checkpoint, one of %d records was confirmed", c.signed)
	}
	c.opened, c.recorded, c.stored = p.book.Generation(), p.box.Last(), p.have
	return repaired, errors.Join(err, problem, p.ack())
}

func rigSeed(t *testing.T) *rand.Rand {
	seed := number(t, "KENSHIN_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// memoryDir is a folder in memory where there is one: who is only killed leaves
// to the system what the system had, whatever disk is behind it.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "kenshin-kill9-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

const freshEvery = 40 // crashes, so that what is read each time stays small

// TestKill9 kills the pipeline again and again.
func TestKill9(t *testing.T) {
	kills := int(number(t, "KENSHIN_PIPEKILLS", 60))
	rnd, repairs, total := rigSeed(t), 0, uint64(0)
	var c confirmed
	dir := ""
	for i := range kills {
		if i%freshEvery == 0 {
			os.RemoveAll(dir)
			total += c.recorded
			dir, c = memoryDir(t), confirmed{}
		}
		_, err := runChild(t.Context(), dir, 1+rnd.IntN(60), time.Duration(rnd.IntN(2000))*time.Microsecond, &c, func(p *os.Process) { p.Kill() })
		var repaired string
		if err == nil {
			repaired, err = c.inspect(dir, i%freshEvery == freshEvery-1)
		}
		if err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
		if repaired != "" {
			repairs++
		}
	}
	t.Logf("%d kills, %d left something to repair; %d records, none lost, none twice, none altered", kills, repairs, total+c.recorded)
}
