import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('messaging', '0002_events_of_webhooks'),
    ]

    operations = [
        migrations.RenameField(
            model_name='conversation',
            old_name='person_asked_at',
            new_name='person_told_at',
        ),
        migrations.AlterField(
            model_name='conversation',
            name='person_told_at',
            field=models.DateTimeField(help_text='When Instagram last said who it is, or that it will not say.', null=True),
        ),
        migrations.AddField(
            model_name='conversation',
            name='person_due_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, help_text='Not asked before then.'),
        ),
        migrations.AddField(
            model_name='conversation',
            name='person_attempts',
            field=models.PositiveSmallIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name='conversation',
            name='person_paused_until',
            field=models.DateTimeField(editable=False, help_text='Until then nobody of the account is asked for.', null=True),
        ),
        migrations.AddField(
            model_name='conversation',
            name='picture',
            field=models.FileField(blank=True, editable=False, upload_to='people/'),
        ),
        migrations.AddField(
            model_name='conversation',
            name='picture_type',
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AlterField(
            model_name='attachment',
            name='state',
            field=models.CharField(choices=[('pending', 'Being fetched'), ('stored', 'Stored'), ('unavailable', 'Unavailable'), ('not_kept', 'Not kept'), ('expired', 'No longer kept')], default='not_kept', max_length=16),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(condition=models.Q(models.Q(('last_inbound_at__isnull', False), ('person_told_at', None)), ('last_inbound_at__gt', models.F('person_told_at')), _connector='OR'), fields=['person_due_at'], name='conversation_person'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(condition=models.Q(('person_paused_until__isnull', False)), fields=['person_paused_until'], name='conversation_paused'),
        ),
    ]
