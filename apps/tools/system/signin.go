package system

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"
)

// SignIn signs a person of the development issuer in at the client's host, as a browser does: it
// follows the way to the issuer's page, picks the person there, and is led back. The client that it
// returns has the cookies of that browser. The host is the host's public address.
func SignIn(host, person string) (*http.Client, error) {
	browser, err := newBrowser()
	if err != nil {
		return nil, err
	}
	page, err := read(browser.Get(host + "/auth/sign-in?return=/me"))
	if err != nil {
		return nil, err
	}
	form := url.Values{"id": {page.URL.Query().Get("id")}, "person": {person}}
	login := page.URL.ResolveReference(&url.URL{Path: "/login"})
	back, err := read(browser.PostForm(login.String(), form))
	if err != nil {
		return nil, err
	}
	if got := back.URL.String(); got != host+"/me" {
		return nil, fmt.Errorf("signing in as %s leads to %s", person, got)
	}
	return browser, nil
}

// Guest is the browser of somebody who is not signed in: it has asked the client's host who it is.
func Guest(host string) (*http.Client, error) {
	browser, err := newBrowser()
	if err != nil {
		return nil, err
	}
	_, err = read(browser.Get(host + "/me"))
	return browser, err
}

func newBrowser() (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	return &http.Client{Jar: jar, Timeout: 10 * time.Second}, err
}

// read reads an answer to its end, and returns its request: the last one of those that led to it.
func read(res *http.Response, err error) (*http.Request, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", res.Request.URL, res.Status)
	}
	return res.Request, nil
}

// Cookie is the Cookie header of a browser's requests to an address.
func Cookie(browser *http.Client, address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	req := &http.Request{Header: http.Header{}}
	for _, cookie := range browser.Jar.Cookies(u) {
		req.AddCookie(cookie)
	}
	return req.Header.Get("Cookie")
}
