package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A phase is a part of the experiment. Each begins with the processes of each fleet
// using one token, and ends when they use one other token.
type phase struct {
	Name   string
	outage bool
	late   bool // processes have a stable token that each fetched for itself, some time after WeChat made it
	// do makes what happens in the phase. It returns when it was over, or the zero time if
	// nothing happens but that a token comes to its end.
	do func(context.Context, *experiment) (time.Time, error)
}

var phases = []phase{
	{"the processes start, without a token", false, false, wait},
	{"a token comes to its end", false, false, wait},
	{"a token comes to its end", false, false, wait},
	{"WeChat revokes the token", false, false, func(_ context.Context, x *experiment) (time.Time, error) {
		x.revoke()
		return x.revoked, nil
	}},
	{"Redis is killed, and back after 1 s, empty", true, false, func(ctx context.Context, x *experiment) (time.Time, error) {
		return x.outage(ctx, func(ctx context.Context) error { return sleep(ctx, time.Second) })
	}},
	{"Redis is killed for 4 s, the token revoked", true, false, func(ctx context.Context, x *experiment) (time.Time, error) {
		return x.outage(ctx, func(ctx context.Context) error {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			x.revoke()
			return sleep(ctx, 3*time.Second)
		})
	}},
	{"Redis is killed for longer than a token lives", true, true, func(ctx context.Context, x *experiment) (time.Time, error) {
		return x.outage(ctx, func(ctx context.Context) error { return sleep(ctx, x.Life+2*time.Second) })
	}},
	{"the last token of the outage comes to its end", true, true, wait},
	{"a token comes to its end", false, false, wait},
}

func wait(context.Context, *experiment) (time.Time, error) { return time.Time{}, nil }

const phaseLimit = 30 * time.Second // and a token's life

// An experiment is a run of all phases.
type experiment struct {
	settings
	redis  *redisServer
	fleets []*fleet

	revoked time.Time // in the phase; zero if not
}

func (x *experiment) revoke() {
	x.revoked = time.Now()
	for _, f := range x.fleets {
		f.wechat.RevokeTokens()
	}
}

// outage kills Redis, waits for meanwhile, and starts it again.
func (x *experiment) outage(ctx context.Context, meanwhile func(context.Context) error) (time.Time, error) {
	if err := x.redis.kill(); err != nil {
		return time.Time{}, err
	}
	if err := meanwhile(ctx); err != nil {
		return time.Time{}, err
	}
	err := x.redis.start(ctx)
	return time.Now(), err
}

// run does the experiment. It tells progress of each phase that begins.
func run(ctx context.Context, s settings, progress func(phase)) (results []result, err error) {
	x := &experiment{settings: s}
	if x.redis, err = startRedis(ctx); err != nil {
		return nil, err
	}
	defer x.redis.remove()
	for _, call := range []string{"stable_token", "token"} {
		f, startErr := startFleet(ctx, s, call, x.redis.addr())
		if startErr != nil {
			return nil, startErr
		}
		defer func() { err = errors.Join(err, f.stop()) }()
		x.fleets = append(x.fleets, f)
	}
	tokens := make([]string, len(x.fleets))
	fetched := make([]time.Time, len(x.fleets))
	for _, p := range phases {
		progress(p)
		r, err := x.phase(ctx, p, tokens, fetched)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		results = append(results, r...)
	}
	return results, nil
}

// phase lets p happen and returns what each fleet did. tokens and fetched are what each
// used at the end of the phase before, and when it was asked for.
func (x *experiment) phase(ctx context.Context, p phase, tokens []string, fetched []time.Time) (results []result, err error) {
	ctx, cancel := context.WithTimeout(ctx, phaseLimit+2*x.Life)
	defer cancel()
	x.revoked = time.Time{}
	over, err := p.do(ctx, x)
	if err != nil {
		return nil, err
	}
	if x.Store {
		err = x.settle(ctx, tokens)
	} else {
		err = sleep(ctx, 2*x.Life) // they need never come to use one token
	}
	if err != nil {
		return nil, err
	}
	for i, f := range x.fleets {
		dead, due := fetched[i].Add(x.Life), fetched[i].Add(x.Life*3/4)
		if !x.revoked.IsZero() {
			dead, due = x.revoked, x.revoked
		}
		seen := f.take()
		r := seen.result(p, f.call, tokens[i], over, dead)
		slices.SortFunc(seen.requests, time.Time.Compare)
		for _, at := range seen.requests {
			if at.Before(due) {
				r.TooSoon++
			}
			fetched[i], due = at, at.Add(x.Life*3/4)
		}
		results = append(results, r)
	}
	return results, nil
}

// settle waits until each fleet is settled, all at the same time, and puts in the place of
// each token the one that is used now.
func (x *experiment) settle(ctx context.Context, tokens []string) error {
	now := make([]string, len(tokens))
	for settled := 0; settled < len(x.fleets); {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("the processes do not come to use one token: %w", err)
		}
		settled = 0
		for i, f := range x.fleets {
			var ok bool
			if now[i], ok = f.settled(tokens[i]); ok {
				settled++
			}
		}
	}
	copy(tokens, now)
	return nil
}

// A result is what a fleet did in a phase.
type result struct {
	Phase     string        `json:"phase"`
	Outage    bool          `json:"outage"`
	Late      bool          `json:"late"`
	Call      string        `json:"call"`
	Codes     int           `json:"codes"`
	Failed    int           `json:"failed"`
	Error     string        `json:"error,omitempty"` // one of those who failed
	TooEarly  bool          `json:"failed_with_live_token"`
	Tokens    int           `json:"tokens"`   // that came into use
	Requests  int           `json:"requests"` // for them
	TooSoon   int           `json:"too_soon"` // of them, before the token was old or revoked
	Slowest   time.Duration `json:"slowest_call_ns"`
	Converged time.Duration `json:"converged_ns"` // until all used one token and no call failed
}

// result sums up. The last token is the one in use at the end; over is when what
// happened was over; the token in use at the beginning was dead from dead on.
func (seen observed) result(p phase, call, last string, over, dead time.Time) result {
	r := result{Phase: p.Name, Outage: p.outage, Late: p.late, Call: call, Tokens: len(seen.firstUse), Requests: len(seen.requests)}
	var settled time.Time
	for _, t := range seen.tallies {
		r.Codes += t.Codes
		r.Slowest = max(r.Slowest, t.Slowest)
		if t.Failed == 0 {
			continue
		}
		r.Failed += t.Failed
		r.Error = t.Error
		r.TooEarly = r.TooEarly || t.FirstFailed.Before(dead)
		settled = later(settled, t.LastFailed)
	}
	first, all := time.Time{}, time.Time{}
	for _, at := range seen.firstUse[last] {
		all = later(all, at)
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if over.IsZero() {
		over = first
	}
	if first.Before(over) || dead.Before(over) || !p.outage { // else all went on with the live token that they had
		settled = later(settled, all)
	}
	r.Converged = max(0, settled.Sub(over))
	return r
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// judge returns what was promised and not kept.
func judge(s settings, results []result) error {
	var errs []error
	broken := func(r result, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s, %s: %s", r.Phase, r.Call, fmt.Sprintf(format, args...)))
	}
	for _, r := range results {
		stable := r.Call == "stable_token"
		switch {
		case r.Codes == 0:
			broken(r, "no code was made")
		case r.Tokens == 0:
			broken(r, "no token came into use")
		}
		// Without Redis each process fetches once for itself by stable_token, and not at all by the other call.
		if r.Outage && stable {
			most := r.Tokens * s.Processes
			if r.Late {
				// expires_in leaves out parts of a second, which are much of a life this short: whoever fetched the token
				// late holds it for old a little before WeChat gives another, and asks twice.
				most *= 2
			}
			if r.Requests > most {
				broken(r, "%d requests for %d tokens, by %d processes", r.Requests, r.Tokens, s.Processes)
			}
		} else if r.Requests != r.Tokens || r.TooSoon > 0 {
			broken(r, "%d requests for %d tokens, %d of them too soon", r.Requests, r.Tokens, r.TooSoon)
		}
		if r.Failed > 0 && (stable || !r.Outage || r.TooEarly) {
			broken(r, "%d calls failed, with a live token to be had: %s", r.Failed, strings.TrimSpace(r.Error))
		}
		if r.Slowest > callLimit+time.Second {
			broken(r, "a call took %v, though its deadline was %v", r.Slowest, callLimit)
		}
	}
	return errors.Join(errs...)
}
