// Load sends HTTP requests to any address and says how many were answered, and
// how fast.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"github.com/postbus/postbus/apps/tools/bench/traffic"
	"github.com/postbus/postbus/apps/tools/system"
	"github.com/postbus/postbus/apps/tools/terminal"
)

const usage = `Load sends HTTP requests and measures the answers.

Usage:
  load [flags] URL

In the URL, the body and the headers, {n} is the request's number, {uuid} a new
UUID, and {post} the id of one of the posts that -posts made, in turn.

  load http://localhost:4002/posts
  load -rate 1000 http://localhost:4002/posts
  load -posts 200 -body '{"content":"comment {n}"}' http://localhost:4001/posts/{post}/comments

With -rate the loop is open: requests are due at fixed times, whatever becomes of
those before, and an answer's time counts from when its request was due; what the
connections had no time for is sent late. Without it the loop is closed: each
connection sends its next request when it has its answer, and the times are
corrected for the requests that a slow answer held up.

Flags:
`

// headers are "Name: value", given any number of times.
type headers []string

func (h *headers) String() string { return strings.Join(*h, ", ") }
func (h *headers) Set(text string) error {
	if !strings.Contains(text, ":") {
		return errors.New(`"Name: value" is expected`)
	}
	*h = append(*h, text)
	return nil
}

func main() {
	load := traffic.Load{}
	var extra headers
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	flag.IntVar(&load.Connections, "connections", 16, "how many `requests` are under way at once, at most")
	flag.Float64Var(&load.Rate, "rate", 0, "`requests` a second; 0 is as fast as the connections get answers")
	flag.DurationVar(&load.Duration, "duration", 10*time.Second, "for how long requests become due")
	method := flag.String("method", "", "the `method` (default GET, or POST with a body)")
	body := flag.String("body", "", "the `body`, sent as application/json")
	flag.Var(&extra, "header", "a further header, `\"Name: value\"`; may be given again")
	flag.IntVar(&load.Want, "status", 0, "the `status` that is success (default 200, or 201 with a body)")
	posts := flag.Int("posts", 0, "make that `many` posts first, for {post}")
	postsURL := flag.String("posts-url", "http://localhost:4000/posts/create", "where posts are made, an `address`")
	asJSON := flag.Bool("json", false, "print the result as JSON")
	flag.Parse()
	if flag.NArg() != 1 || load.Connections < 1 || load.Rate < 0 || load.Duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *method == "" {
		*method = map[bool]string{true: fasthttp.MethodGet, false: fasthttp.MethodPost}[*body == ""]
	}
	if load.Want == 0 {
		load.Want = map[bool]int{true: fasthttp.StatusOK, false: fasthttp.StatusCreated}[*body == ""]
	}
	ids, err := system.CreatePosts(&http.Client{Timeout: 10 * time.Second}, *postsURL, *posts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", terminal.Lines(err.Error()))
		os.Exit(1)
	}
	fill := func(text string, n uint64) string { return fill(text, n, ids) }
	load.Prepare = func(n uint64, req *fasthttp.Request) {
		req.Header.SetMethod(*method)
		req.SetRequestURI(fill(flag.Arg(0), n))
		if *body != "" {
			req.Header.SetContentType("application/json")
			req.SetBodyString(fill(*body, n))
		}
		for _, h := range extra {
			name, value, _ := strings.Cut(h, ":")
			req.Header.Set(name, fill(strings.TrimSpace(value), n))
		}
	}
	load.Progress = os.Stderr

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := load.Run(ctx)
	if *asJSON {
		printJSON(r)
	} else {
		printText(r)
	}
	if r.FirstFailure != nil {
		fmt.Fprintln(os.Stderr, "load: the first failure:", terminal.Lines(r.FirstFailure.Error()))
		os.Exit(1)
	}
}

// fill replaces the placeholders, which the usage lists, in the text of the n-th request.
func fill(text string, n uint64, posts []string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	text = strings.ReplaceAll(text, "{n}", strconv.FormatUint(n, 10))
	if strings.Contains(text, "{uuid}") {
		text = strings.ReplaceAll(text, "{uuid}", uuid.NewString())
	}
	if len(posts) > 0 {
		text = strings.ReplaceAll(text, "{post}", posts[n%uint64(len(posts))])
	}
	return text
}

var quantiles = []float64{50, 90, 99, 99.9, 100}

func printText(r traffic.Result) {
	fmt.Printf("%d answers in %s, %.0f a second; %d failed\n", r.OK, r.Took.Round(time.Millisecond), r.PerSecond(), r.Failed)
	for _, q := range quantiles {
		fmt.Printf("  %6g %% within %s\n", q, r.Quantile(q))
	}
}

func printJSON(r traffic.Result) {
	out := map[string]any{"ok": r.OK, "failed": r.Failed, "seconds": r.Took.Seconds(), "perSecond": r.PerSecond()}
	latency := map[string]float64{}
	for _, q := range quantiles {
		latency[fmt.Sprintf("p%g", q)] = r.Quantile(q).Seconds() * 1000
	}
	out["latencyMs"] = latency
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	_ = enc.Encode(out) // only stdout can fail
}
