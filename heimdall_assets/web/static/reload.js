// The database is away: look again until it answers.
setTimeout(() => location.reload(), 10000);
