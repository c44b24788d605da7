package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbus/postbus/apps/tools/bench/traffic"
	"github.com/postbus/postbus/apps/tools/system"
)

// peopleRounds is how many rounds there are at least: the difference is small.
const peopleRounds = 8

// people measures the CPU of a comment that a browser sends through the client's host, with the
// cookie of a session and with that of a guest, in turn.
func (b *bench) people(ctx context.Context, s *stack) error {
	ids, err := s.createPosts(200)
	if err != nil {
		return err
	}
	host := strings.TrimPrefix(s.App("client").URL(), "http://")
	load := traffic.Load{Connections: connections, Duration: b.each}
	warm := load
	warm.Duration = time.Second
	if _, err := b.write(ctx, s, ids, warm, keyed); err != nil {
		return err
	}
	var persons, guests figures
	for i := range max(b.rounds, peopleRounds) {
		person, guest, err := browsers("http://" + host)
		if err != nil {
			return err
		}
		cookies := []string{person, guest}
		if i%2 == 1 { // who is first is second in the next round
			cookies = []string{guest, person}
		}
		for _, cookie := range cookies {
			if err := s.quiet(ctx); err != nil {
				return err
			}
			w, err := b.write(ctx, s, ids, load, keyed, fromBrowser(host, cookie))
			if err != nil {
				return err
			}
			others, servers := w.cpuEach()
			if cookie == person {
				persons = append(persons, others+servers)
			} else {
				guests = append(guests, others+servers)
			}
		}
		say("  round %d: a signed-in person's comment %s µs, a guest's %s µs", i+1, short(persons[i]), short(guests[i]))
	}
	ratio := persons.over(guests)
	b.add(row{"CPU of a signed-in person's comment, through the client's host", persons.format(" µs"), "a guest's, in turn", guests.format(" µs"),
		ratio.format(""), "≤ 1.1", verdict(ratio.median() <= 1.1)})
	return nil
}

// browsers are the Cookie headers of somebody who is signed in and of a guest.
func browsers(host string) (person, guest string, err error) {
	signedIn, err := system.SignIn(host, "reader")
	if err != nil {
		return "", "", err
	}
	other, err := system.Guest(host)
	if err != nil {
		return "", "", err
	}
	person, guest = system.Cookie(signedIn, host), system.Cookie(other, host)
	if person == "" || guest == "" {
		return "", "", fmt.Errorf("%s sets no cookies", host)
	}
	return person, guest, nil
}

// fromBrowser has a request come from a page of the host.
func fromBrowser(host, cookie string) func(*fasthttp.Request) {
	return func(req *fasthttp.Request) {
		req.URI().SetHost(host)
		req.Header.Set("Cookie", cookie)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}
