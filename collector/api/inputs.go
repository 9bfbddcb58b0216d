package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"
	"go.uber.org/zap"

	"kenshin/calc"
)

// Inputs takes amounts that no meter gave.
type Inputs interface {
	// Enter puts an input into the book, in place of an earlier one of its id; nil
	// withdraws that. The error wraps what is unknown when there is none.
	Enter(project, id string, x *calc.Input, who, why string) error
}

type inputRequest struct {
	Project string `path:"project" doc:"Reference of the project"`
	ID      string `path:"id" doc:"Id of the input; a later one of the same id takes its place"`
	Body    struct {
		Parameter string `json:"parameter" doc:"Symbol of the methodology"`
		Of        string `json:"unit_i,omitempty" doc:"Unit i it belongs to"`
		From      string `json:"from" format:"date" doc:"First local day it is about"`
		To        string `json:"to" format:"date" doc:"Last local day it is about"`
		Value     string `json:"value" doc:"Amount: a decimal as a string"`
		Unit      string `json:"unit" doc:"Unit of the amount, the methodology's"`
		Document  string `json:"document" doc:"Invoice, list or report that shows it"`
		Evidence  string `json:"evidence" doc:"SHA-256 of that document, 64 hexadecimal digits"`
		Who       string `json:"who" doc:"Name of the person who puts it in"`
		Why       string `json:"why,omitempty"`
	}
}

type withdrawal struct {
	Project string `path:"project" doc:"Reference of the project"`
	ID      string `path:"id" doc:"Id of the input that is taken out of force; the book keeps what it said"`
	Who     string `query:"who" required:"true" minLength:"1" doc:"Name of the person who withdraws it"`
	Why     string `query:"why" required:"true" minLength:"1" doc:"Reason, for the verifier"`
}

type taken struct {
	Input string `json:"input" doc:"Id"`
	State string `json:"state" doc:"in the book, or withdrawn: the figures follow it"`
}

// inputs are the calls that change anything, with a token of their own.
func (s *server) inputs(h huma.API) {
	if s.cfg.InputToken == "" {
		return
	}
	const path = "/api/v1/projects/{project}/inputs/{id}"
	refused := func(err error) error { return huma.Error422UnprocessableEntity(err.Error()) }
	op := huma.Operation{OperationID: "input", Method: http.MethodPut, Path: path, Tags: []string{"inputs"},
		Summary: "Puts an amount that no meter gave into the book, with its evidence", Security: []map[string][]string{{"input": {}}}}
	huma.Register(h, op, func(ctx context.Context, in *inputRequest) (*body[taken], error) {
		if _, err := s.find(ctx, in.Project); err != nil {
			return nil, err
		}
		b := &in.Body
		x := &calc.Input{ID: in.ID, Parameter: b.Parameter, UnitName: b.Of, Unit: b.Unit, Document: b.Document, Evidence: b.Evidence, Who: b.Who, Why: b.Why}
		var err error
		if x.From, err = calc.ParseDate(b.From); err != nil {
			return nil, refused(err)
		}
		if x.To, err = calc.ParseDate(b.To); err != nil {
			return nil, refused(err)
		}
		if x.Value, err = decimal.NewFromString(b.Value); err != nil {
			return nil, refused(fmt.Errorf("value %q: want a decimal, like 12.5", b.Value))
		}
		why := b.Why
		if why == "" {
			why = b.Document
		}
		if err := s.cfg.Inputs.Enter(in.Project, in.ID, x, b.Who, why); err != nil {
			return nil, refused(err)
		}
		s.cfg.Log.Info("input", zap.String("project", in.Project), zap.String("id", in.ID), zap.String("who", b.Who))
		return &body[taken]{taken{in.ID, "in the book: the figures follow it"}}, nil
	})
	op = huma.Operation{OperationID: "withdraw-input", Method: http.MethodDelete, Path: path, Tags: []string{"inputs"},
		Summary: "Takes an amount that no meter gave out of force; the book keeps it", Security: []map[string][]string{{"input": {}}}}
	huma.Register(h, op, func(ctx context.Context, in *withdrawal) (*body[taken], error) {
		if _, err := s.find(ctx, in.Project); err != nil {
			return nil, err
		}
		if err := s.cfg.Inputs.Enter(in.Project, in.ID, nil, in.Who, in.Why); err != nil {
			return nil, refused(err)
		}
		s.cfg.Log.Info("input withdrawn", zap.String("project", in.Project), zap.String("id", in.ID), zap.String("who", in.Who))
		return &body[taken]{taken{in.ID, "withdrawn: the figures follow it"}}, nil
	})
}
