package policy

import (
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
)

// First returns the policy of a blog whose moderators have written none: that of a text, as
// they would write it, or Default if it is empty. An error names the place. The scorer is nil if
// none is configured.
func First(text string, scorer *Scorer) (rules Rules, err error) {
	if text == "" {
		return Default, nil
	}
	if err := jsonv2.Unmarshal([]byte(text), &rules, jsonv2.RejectUnknownMembers(true)); err != nil {
		return Rules{}, fmt.Errorf("it is no policy: %w", err)
	}
	if err := rules.Validate(); err != nil {
		return Rules{}, err
	}
	if rules.Scorer != nil && scorer == nil {
		return Rules{}, &event.FieldError{Field: "scorer", Detail: "can't be used: no SCORER_URL is configured"}
	}
	return rules, nil
}
