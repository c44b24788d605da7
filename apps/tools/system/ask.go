package system

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Answer is an HTTP answer, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Ask sends a request and reads the answer, whatever its status is. A body is JSON.
// Headers are "Name: value".
func Ask(client *http.Client, method, url, body string, headers ...string) (Answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, raw}, err
}

// Want returns an error that quotes the answer, unless it has the status.
func (a Answer) Want(status int) error {
	if a.Status != status {
		return fmt.Errorf("%d %.200s", a.Status, a.Body)
	}
	return nil
}

// CreatePosts makes that many posts with the service at url and returns their ids.
func CreatePosts(client *http.Client, url string, count int) ([]string, error) {
	ids := make([]string, count)
	for i := range ids {
		var made struct{ ID string }
		a, err := Ask(client, http.MethodPost, url, fmt.Sprintf(`{"title":"Post %d"}`, i))
		if err == nil {
			err = a.Want(http.StatusCreated)
		}
		if err == nil {
			err = json.Unmarshal(a.Body, &made)
		}
		if err != nil {
			return nil, fmt.Errorf("creating a post at %s: %w", url, err)
		}
		ids[i] = made.ID
	}
	return ids, nil
}
