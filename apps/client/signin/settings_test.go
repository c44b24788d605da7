package signin

import (
	"strings"
	"testing"
	"time"
)

func TestTheSettingsSayWhatIsWrong(t *testing.T) {
	key := strings.Repeat("k", minKey)
	public := map[string]string{"ISSUER": "https://id.example", "SUBJECT_KEY": strings.Repeat("s", 32), "PUBLIC_URL": "https://posts.com", "SESSION_KEY": key}
	for name, test := range map[string]struct {
		env  map[string]string
		want string // part of the error, or empty
	}{
		"nothing":              {map[string]string{}, ""},
		"public":               {public, ""},
		"on this machine":      {map[string]string{"ISSUER": "http://localhost:4006"}, ""},
		"two keys":             {with(public, "SESSION_KEY", key+", "+key), ""},
		"no key":               {with(public, "SESSION_KEY", ""), "SESSION_KEY is not set"},
		"a short key":          {with(public, "SESSION_KEY", key[1:]), "SESSION_KEY has a secret of 31 bytes"},
		"an empty second key":  {with(public, "SESSION_KEY", key+","), "SESSION_KEY has a secret of 0 bytes"},
		"a path":               {with(public, "PUBLIC_URL", "https://posts.com/blog"), "PUBLIC_URL is"},
		"no scheme":            {with(public, "PUBLIC_URL", "posts.com"), "PUBLIC_URL is"},
		"no URL":               {with(public, "PUBLIC_URL", "https://\x7f"), "PUBLIC_URL is no URL"},
		"an end":               {with(public, "PUBLIC_URL", "https://posts.com/"), ""},
		"a private issuer":     {with(public, "ISSUER", "http://localhost:4006"), "DEV_ISSUER=1"},
		"it is meant":          {with(with(public, "ISSUER", "http://localhost:4006"), "DEV_ISSUER", "1"), ""},
		"no subject key":       {with(public, "SUBJECT_KEY", ""), "SUBJECT_KEY is not set"},
		"the shortest session": {with(public, "SESSION_IDLE", "1m"), ""},
		"a shorter one":        {with(public, "SESSION_IDLE", "59s"), "SESSION_IDLE is"},
		"no time":              {with(public, "SESSION_LIFETIME", "week"), "SESSION_LIFETIME is"},
	} {
		_, err := Read(func(name string) string { return test.env[name] })
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func with(env map[string]string, name, value string) map[string]string {
	changed := map[string]string{name: value}
	for other, is := range env {
		if other != name {
			changed[other] = is
		}
	}
	return changed
}

func TestTheSettingsHaveDefaults(t *testing.T) {
	env := map[string]string{"PORT": "13000", "AUDIENCE": "blog"}
	c, err := Read(func(name string) string { return env[name] })
	if err != nil || c.Public.String() != "http://localhost:13000" || c.ClientID != "blog" || c.Lifetime != 7*24*time.Hour || c.Idle != 24*time.Hour || len(c.Keys) != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
}
