package identity

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/semaphore"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// lookEvery is the least time between two looks at the issuer's keys. It bounds what
	// forged tokens make a service ask of the issuer.
	lookEvery = 2 * time.Second
	// lookTimeout bounds a look.
	lookTimeout = 1500 * time.Millisecond
	// maxLookWait bounds how long a request waits for a look.
	maxLookWait = lookEvery + lookTimeout
	// maxLooking bounds how many requests wait for a look at the same time. Anybody can make
	// up tokens that are waited for.
	maxLooking = 128
	// refreshEvery is how often the keys are read again without need. A key that the issuer
	// has withdrawn is accepted for that long, and as long as the issuer is down.
	refreshEvery = 5 * time.Minute
	// retryEvery is the pause between two tries of that.
	retryEvery = 5 * time.Second
	// reportAfter is how long the issuer does not answer before that is reported. Services and a
	// development issuer start together.
	reportAfter = 10 * time.Second
)

// keys are the issuer's keys that are known: the last that it published.
type keys struct {
	issuer string
	client *http.Client
	store  state.Store
	now    func() time.Time
	every  time.Duration // lookEvery
	known  atomic.Pointer[published]
	// places bounds the requests that wait for a look.
	places chan struct{}
	// found has a signal when the known keys may be others than the stored ones.
	found chan struct{}

	// looking is held during a look, and guards the fields below.
	looking *semaphore.Weighted
	began   time.Time // of the last look
	failure error     // of the last look
	// failing is when the first look of those began that have failed since, and isReported
	// whether the log says so.
	failing    time.Time
	isReported bool
}

func newKeys(c Config) *keys {
	return &keys{
		issuer: c.URL, client: c.Client, store: c.Store, now: c.Now, every: lookEvery,
		places: make(chan struct{}, maxLooking), found: make(chan struct{}, 1), looking: semaphore.NewWeighted(1),
	}
}

var errBusy = errors.New("too many other requests wait for the issuer's keys")

// verify returns the payload of a token that one of the issuer's keys has signed. If none of
// those that are known has, it looks whether the issuer has published others. The error is a
// *web.Problem if it is not known whether there are others.
func (k *keys) verify(ctx context.Context, token string) (payload []byte, err error) {
	signed, err := jose.ParseSignedCompact(token, accepted)
	if err != nil {
		return nil, err
	}
	if payload, err := k.known.Load().verify(signed); err == nil {
		return payload, nil
	}
	payload, err = k.lookFor(ctx, signed)
	if err != nil && !errors.Is(err, errNoSuchKey) {
		slog.DebugContext(ctx, "token not verified", "error", err)
		err = web.Unavailable("No key that is known here has signed this token, and the issuer can't be asked for others now. Try again.")
	}
	return payload, err
}

// accepted are the algorithms, as go-jose has them.
var accepted = func() (as []jose.SignatureAlgorithm) {
	for _, algorithm := range algorithms {
		as = append(as, jose.SignatureAlgorithm(algorithm))
	}
	return as
}()

// lookFor verifies what is signed by a key that was not known when this was called. A
// successful look that began after the call says that there is none: the error is then
// errNoSuchKey. For that look it waits until k.every after the last one, unless that one
// failed. Any other error says that there was none.
func (k *keys) lookFor(ctx context.Context, signed *jose.JSONWebSignature) (payload []byte, err error) {
	select {
	case k.places <- struct{}{}:
		defer func() { <-k.places }()
	default:
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, maxLookWait)
	defer cancel()
	called := k.now()
	if err := k.looking.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer k.looking.Release(1)
	payload, err = k.known.Load().verify(signed)
	wasLooked := !k.began.IsZero() && !k.began.Before(called) // for another request
	wait := k.began.Add(k.every).Sub(k.now())
	switch {
	case err == nil || wasLooked && k.failure == nil:
		return payload, err
	case k.failure != nil && (wasLooked || wait > 0):
		return nil, k.failure
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	failure := k.look(ctx)
	if payload, err = k.known.Load().verify(signed); err != nil && failure != nil {
		err = failure
	}
	return payload, err
}

// refresh looks now, whenever the last look was.
func (k *keys) refresh(ctx context.Context) error {
	if err := k.looking.Acquire(ctx, 1); err != nil {
		return err
	}
	defer k.looking.Release(1)
	return k.look(ctx)
}

// look reads the issuer's keys and makes them the known ones. If the issuer does not answer,
// it reads what another process of this service, or an earlier one, has stored of them. The
// caller holds looking. It ends by time-outs of its own: others may wait for the same look.
func (k *keys) look(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	k.began = k.now()
	var found *published
	found, k.failure = k.ask(ctx)
	k.report(ctx)
	if k.failure == nil {
		k.use(found)
		return nil
	}
	found, err := k.load(ctx)
	if err != nil {
		level := slog.LevelDebug
		if k.isReported {
			level = slog.LevelWarn
		}
		slog.Log(ctx, level, "the stored keys of the issuer can't be read", "error", err)
		return k.failure
	}
	if known := k.known.Load(); found != nil && (known == nil || found.At.After(known.At)) {
		k.use(found)
	}
	return k.failure
}

func (k *keys) use(found *published) {
	k.known.Store(found)
	select {
	case k.found <- struct{}{}:
	default: // run has this signal already
	}
}

// run reads the keys at once and then every refreshEvery, and stores what is found, until ctx
// is done.
func (k *keys) run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		var failure error
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			failure = k.refresh(ctx)
			next.Reset(refreshEvery)
		case <-k.found:
		}
		if err := k.save(ctx); err != nil || failure != nil {
			next.Reset(retryEvery)
		}
	}
}

// report logs that the issuer does not answer, once that has lasted for reportAfter, and that it
// answers again. The caller holds looking.
func (k *keys) report(ctx context.Context) {
	switch {
	case k.failure == nil:
		if k.isReported {
			slog.InfoContext(ctx, "the issuer's keys are read again", "issuer", k.issuer)
		}
		k.failing, k.isReported = time.Time{}, false
	case k.failing.IsZero():
		k.failing = k.began
	case !k.isReported && k.began.Sub(k.failing) >= reportAfter:
		slog.WarnContext(ctx, "the issuer's keys can't be read, retrying; those that are known stay", "issuer", k.issuer, "error", k.failure)
		k.isReported = true
	}
}
