package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// edge is what is known of an edge's deliveries.
type edge struct {
	Edge     string     `json:"edge"`
	Epoch    wire.Epoch `json:"epoch" doc:"Names one life of the edge's outbox"`
	Through  uint64     `json:"through" doc:"Records 1 to this one of the epoch are durable here"`
	Received int64      `json:"received" doc:"When the last message came, ms since 1970 UTC on the collector's clock; 0 when none has"`
}

type health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
	Records uint64 `json:"records" doc:"In the book"`
}

// note is an answer in plain text.
type note struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

const noCheckpoint = "no checkpoint has been signed yet; one is signed every hour and when the collector stops"

func (s *server) state(h huma.API) {
	huma.Register(h, operation("edges", "/api/v1/edges", "operation", "What has been delivered by each edge"), s.edges)

	op := operation("checkpoint", "/api/v1/checkpoint", "evidence", "The newest signed checkpoint of the book: C2SP tlog-checkpoint")
	op.Responses = map[string]*huma.Response{"200": {Description: "A signed note", Content: map[string]*huma.MediaType{"text/plain": {}}}}
	huma.Register(h, op, func(context.Context, *struct{}) (*note, error) {
		text := s.cfg.Book.LastCheckpoint()
		if text == "" {
			return nil, huma.Error404NotFound(noCheckpoint)
		}
		return &note{"text/plain; charset=utf-8", []byte(text)}, nil
	})

	op = operation("health", "/healthz", "operation", "Whether the process answers")
	op.Security = []map[string][]string{}
	huma.Register(h, op, func(context.Context, *struct{}) (*body[health], error) {
		return &body[health]{health{"ok", s.cfg.Version, s.cfg.Book.Size()}}, nil
	})
	huma.Register(h, operation("ready", "/readyz", "operation", "Whether figures can be had and messages can come"),
		func(ctx context.Context, _ *struct{}) (*body[health], error) {
			_, err := s.cfg.Figures.Projects(ctx)
			if err == nil {
				_, err = s.cfg.Figures.Latest(ctx)
			}
			if err != nil {
				s.cfg.Log.Error("not ready", zap.Error(err))
				return nil, huma.Error503ServiceUnavailable("the series store does not answer; the collector's log says why")
			}
			if err := s.cfg.Figures.Stalled(); err != nil {
				return nil, huma.Error503ServiceUnavailable(err.Error())
			}
			if err := s.cfg.Broker(); err != nil {
				return nil, huma.Error503ServiceUnavailable(err.Error())
			}
			return &body[health]{health{"ready", s.cfg.Version, s.cfg.Book.Size()}}, nil
		})
}

func (s *server) edges(ctx context.Context, _ *struct{}) (*body[[]edge], error) {
	out := []edge{}
	err := s.cfg.Deliveries.Edges(ctx, func(id string, epoch wire.Epoch, through uint64, received int64) {
		out = append(out, edge{id, epoch, through, received})
	})
	if err != nil {
		return nil, s.internal(err)
	}
	return &body[[]edge]{out}, nil
}
