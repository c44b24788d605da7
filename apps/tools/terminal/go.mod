// Has no dependencies, so that every tool's module can require it, also those that
// share nothing with the services.
module github.com/postbus/postbus/apps/tools/terminal

go 1.26.8
