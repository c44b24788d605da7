package policy

import (
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// First returns the policy of a blog whose moderators have written none: that of a text, as
// they would write it, or Default if it is empty. An error names the place. The scorer is nil if
// none is configured.
func First(text string, scorer *Scorer) (rules Rules, err error) {
	if text == "" {
		return Default, nil
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "{") { // null would decode
		return Rules{}, fmt.Errorf("it is no policy: %.40q is no JSON object", text)
	}
	if err := jsonv2.Unmarshal([]byte(text), &rules, jsonv2.RejectUnknownMembers(true)); err != nil {
		return Rules{}, fmt.Errorf("it is no policy: %w", err)
	}
	if err := rules.ValidateWith(scorer); err != nil {
		return Rules{}, err
	}
	return rules, nil
}
