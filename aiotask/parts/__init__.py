"""What an app is made of besides sending: registering functions, its database, its workers and what these are for."""
