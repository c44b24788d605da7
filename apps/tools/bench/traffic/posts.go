package traffic

import (
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"
)

// CreatePosts makes that many posts with the service at url and returns their ids.
func CreatePosts(url string, count int) ([]string, error) {
	ids := make([]string, 0, count)
	for i := range count {
		req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetContentType("application/json")
		req.SetRequestURI(url)
		req.SetBodyString(fmt.Sprintf(`{"title":"Post %d"}`, i))
		var made struct{ ID string }
		err := fasthttp.DoTimeout(req, res, requestTimeout)
		switch {
		case err != nil:
		case res.StatusCode() != fasthttp.StatusCreated:
			err = fmt.Errorf("%d %.200s", res.StatusCode(), res.Body())
		default:
			err = json.Unmarshal(res.Body(), &made)
		}
		fasthttp.ReleaseRequest(req)
		fasthttp.ReleaseResponse(res)
		if err != nil {
			return nil, fmt.Errorf("creating a post at %s: %w", url, err)
		}
		ids = append(ids, made.ID)
	}
	return ids, nil
}
