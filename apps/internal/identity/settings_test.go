package identity

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const secret = "0123456789abcdef0123456789abcdef"

func TestSettingsComeFromTheEnvironment(t *testing.T) {
	read := func(env map[string]string) (Settings, error) {
		return Read(func(name string) string { return env[name] })
	}
	got, err := read(nil)
	if err != nil || got.Issuer != nil || !reflect.DeepEqual(got.Guests, []Command{Post, Comment}) {
		t.Errorf("without any: %+v, %v", got, err)
	}
	got, err = read(map[string]string{"ISSUER": "https://id.example/realms/posts", "SUBJECT_KEY": secret})
	if err != nil || got.Issuer.Audience != "postbus" || got.Issuer.RolesClaim != "roles" || len(got.Issuer.Roles) > 0 || string(got.Issuer.SubjectKey) != secret {
		t.Errorf("with an issuer: %+v, %v", got.Issuer, err)
	}
	got, err = read(map[string]string{
		"ISSUER": "http://localhost:4006", "AUDIENCE": "blog", "ROLES_CLAIM": "realm_access.roles",
		"ROLES": " staff = author ; admins=moderator,operator;cn=a,o=b=reader;*=reader;", "GUESTS": "comment",
	})
	want := map[string][]Role{"staff": {Author}, "admins": {Moderator, Operator}, "cn=a,o=b": {Reader}, "*": {Reader}}
	if err != nil || got.Issuer.Audience != "blog" || got.Issuer.RolesClaim != "realm_access.roles" || !reflect.DeepEqual(got.Issuer.Roles, want) ||
		len(got.Issuer.SubjectKey) == 0 || !reflect.DeepEqual(got.Guests, []Command{Comment}) {
		t.Errorf("with all: %+v, %v", got, err)
	}
	if got, err := read(map[string]string{"GUESTS": "none"}); err != nil || len(got.Guests) > 0 {
		t.Errorf("without guests: %+v, %v", got, err)
	}
}

func TestASettingThatCanNotBeIsRefusedWithItsMend(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		says []string
	}{
		{map[string]string{"ISSUER": "http://id.example", "SUBJECT_KEY": secret}, []string{"ISSUER", "TLS", "https"}},
		{map[string]string{"ISSUER": "id.example", "SUBJECT_KEY": secret}, []string{"ISSUER", "https"}},
		{map[string]string{"ISSUER": "ftp://localhost", "SUBJECT_KEY": secret}, []string{"ISSUER", "https"}},
		{map[string]string{"ISSUER": "https://a\x7f", "SUBJECT_KEY": secret}, []string{"ISSUER"}},
		{map[string]string{"ISSUER": "https://id.example"}, []string{"SUBJECT_KEY", "openssl"}},
		{map[string]string{"ISSUER": "https://id.example", "SUBJECT_KEY": "short"}, []string{"SUBJECT_KEY", "32"}},
		{map[string]string{"ISSUER": "http://localhost", "SUBJECT_KEY": "short"}, []string{"SUBJECT_KEY", "32"}},
		{map[string]string{"ISSUER": "http://localhost", "ROLES": "staff=chief"}, []string{"ROLES", "chief", "moderator"}},
		{map[string]string{"ISSUER": "http://localhost", "ROLES": "author"}, []string{"ROLES", "="}},
		{map[string]string{"ISSUER": "http://localhost", "ROLES": "=author"}, []string{"ROLES", "="}},
		{map[string]string{"GUESTS": "everything"}, []string{"GUESTS", "everything", "comment"}},
		{map[string]string{"GUESTS": "post none"}, []string{"GUESTS"}},
	} {
		_, err := Read(func(name string) string { return test.env[name] })
		if err == nil {
			t.Errorf("%v is taken", test.env)
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v: %q does not say %q", test.env, err, part)
			}
		}
		if test.env["SUBJECT_KEY"] != "" && strings.Contains(err.Error(), test.env["SUBJECT_KEY"]) {
			t.Errorf("%v: the error has the secret: %v", test.env, err)
		}
	}
}

// What the pages offer is what the guard lets pass.
func TestWhatSomebodyMayIsWhatTheGuardAllows(t *testing.T) {
	for _, guests := range [][]Command{nil, {Comment}, {Post}, {Post, Comment}} {
		guard := New(roleTokens{}, guests...)
		for _, name := range []string{"", "nobody", "reader", "author", "moderator", "operator"} {
			header, person := "", Person{}
			if name != "" {
				header, person = "Bearer "+name, Person{Subject: name, Roles: []Role{Role(name)}}
			}
			if name == "nobody" {
				person.Roles = nil
			}
			may := Settings{Guests: guests}.May(person)
			for _, command := range []Command{Post, Comment, Moderate} {
				res, _ := get(header, guard.Identify, guard.Allow(command))
				if says := slices.Contains(may, command); says != (res.Code == http.StatusNoContent) {
					t.Errorf("guests %v: %q may %s: %v, and is answered %d", guests, name, command, says, res.Code)
				}
			}
		}
	}
}
