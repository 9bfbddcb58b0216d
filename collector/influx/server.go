package influx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	client "github.com/influxdata/influxdb-client-go/v2/api/http"
)

// Server says where lines go and under which name.
type Server struct {
	Name     string // in files, metrics and messages
	URL      string // such as http://127.0.0.1:8086
	Org      string
	Bucket   string
	Token    func() (string, error) // asked again after it was refused
	Rounding bool                   // the server keeps float64 only and cannot be compared, such as VictoriaMetrics
	Gzip     bool
	Timeout  time.Duration // of one request; 0: 30 s
}

// link is the way to a server.
type link struct {
	server Server
	client influxdb2.Client
	write  api.WriteAPIBlocking
	query  api.QueryAPI
}

func dial(s Server) *link {
	if s.Timeout == 0 {
		s.Timeout = 30 * time.Second
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: min(s.Timeout, 10*time.Second)}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		ResponseHeaderTimeout: s.Timeout,
	}
	o := influxdb2.DefaultOptions().SetPrecision(time.Millisecond).SetUseGZip(s.Gzip).SetLogLevel(0).SetHTTPClient(&http.Client{Transport: transport})
	c := influxdb2.NewClientWithOptions(s.URL, "", o)
	return &link{server: s, client: c, write: c.WriteAPIBlocking(s.Org, s.Bucket), query: c.QueryAPI(s.Org)}
}

func (l *link) close() {
	l.client.Close()
}

// authorize takes the token as it is now.
func (l *link) authorize() error {
	token, err := l.server.Token()
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if token == "" {
		l.client.HTTPService().SetAuthorization("")
	} else {
		l.client.HTTPService().SetAuthorization("Token " + token)
	}
	return nil
}

// send writes lines in one request.
func (l *link) send(ctx context.Context, lines []line) error {
	ctx, cancel := context.WithTimeout(ctx, l.server.Timeout)
	defer cancel()
	texts := make([]string, len(lines))
	for i := range lines {
		texts[i] = lines[i].text
	}
	return l.write.WriteRecord(ctx, texts...)
}

// verdict is what an answer of the server means for the lines of a request.
type verdict uint8

const (
	stored   verdict = iota
	again            // not now: the same lines later
	stopped          // not before a person has changed something: the same lines later, slowly
	tooLarge         // in smaller requests
	partly           // some line is at fault, the others may be stored or not
	expired          // older than the server keeps, the others are stored
)

// judge reads an error of send. InfluxDB 2 answers 422 where 1.8 answers 400; the
// words are the same.
func judge(err error) (verdict, time.Duration) {
	if err == nil {
		return stored, 0
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return again, 0
	}
	words := e.Message + " " + e.Error()
	switch {
	case e.StatusCode == http.StatusTooManyRequests || e.StatusCode == http.StatusServiceUnavailable:
		return again, min(time.Duration(e.RetryAfter)*time.Second, maxWait)
	case e.StatusCode == http.StatusRequestEntityTooLarge:
		return tooLarge, 0
	case e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusNotFound:
		return stopped, 0
	case e.StatusCode != 0 && strings.Contains(words, "not found"), strings.Contains(words, "limit exceeded"), strings.Contains(words, "max-values-per-tag"):
		return stopped, 0 // a policy that is not there, or the server's limits: not the line
	case strings.Contains(words, "beyond retention policy"):
		return expired, 0
	case e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnprocessableEntity:
		return partly, 0
	case e.StatusCode/100 == 4:
		return stopped, 0
	}
	return again, 0
}

// wordsOf returns what the server said, for people.
func wordsOf(err error) string {
	var e *client.Error
	if errors.As(err, &e) && e.StatusCode != 0 {
		text := e.Message
		if text == "" {
			text = e.Header.Get("X-Influxdb-Error") // as 1.8 says it
		}
		if text == "" {
			text = e.Error()
		}
		return fmt.Sprintf("%d %s: %s", e.StatusCode, http.StatusText(e.StatusCode), strings.TrimSpace(text))
	}
	return err.Error()
}
