// Moderation decides which comments readers get to see.
package main

import (
	"log/slog"
	"os"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/replica"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/moderation/moderation"
	"github.com/postbus/postbus/apps/moderation/policy"
)

func main() {
	s := service.New("moderation", "decides which comments readers get to see", 4003)
	r := replica.New(s, "moderation-store")
	journal := r.Journal()
	guard, refreshKeys := s.Identity(r.Store)
	external := scorer()
	m := moderation.New(moderation.Config{
		Source: s.Name, Journal: journal, Publisher: r.Bus, Store: r.Store, Progress: r.Progress, Log: r.Log(),
		Guard: guard, Limits: s.Limits(), Default: firstPolicy(external), Scorer: external, Now: time.Now,
	})
	follower := r.Follow(m.Consumers())

	s.API(m.Routes)
	r.Receiver.Handle(s.Channel, event.CommentCreated, follower.Deliver(event.CommentCreated))

	s.Run(journal.Run, follower.Run, m.Run, refreshKeys)
}

// scorer is the external scorer, or nil if none is configured. It exits the process if the
// calls could not be signed.
func scorer() *policy.Scorer {
	url, secret := os.Getenv("SCORER_URL"), os.Getenv("SCORER_SECRET")
	switch {
	case url == "":
		return nil
	case secret == "":
		slog.Error("SCORER_URL is set without SCORER_SECRET, which signs the calls. Set both")
		os.Exit(1)
	}
	return policy.NewScorer(url, secret, time.Now)
}

// firstPolicy is the policy until moderators write one. It exits the process if DEFAULT_POLICY
// can't be used.
func firstPolicy(external *policy.Scorer) policy.Rules {
	rules, err := policy.First(os.Getenv("DEFAULT_POLICY"), external)
	if err != nil {
		slog.Error("DEFAULT_POLICY can't be used. Write it as moderators write a policy", "error", err)
		os.Exit(1)
	}
	return rules
}
